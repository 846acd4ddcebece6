import { Controller, Delete, Get, Inject, Logger, Post } from '@nestjs/common';
import pg from 'pg';
import {
  ApiKey,
  CreatedApiKey,
  createKey,
  listKeys,
  NewApiKey,
  revokeKey,
  type KeyChange,
} from '#lib/access';
import { LOG_POOL, type CommandOptions } from '#lib/waylog';
import { Access } from '../access/access.js';
import { Answers, Id, Needs, Operation, Sender, Tag, ValidBody } from '#lib/rest';

/** The keys of this API. */
@Tag('admin')
@Controller('v1/admin/keys')
export class KeysController {
  readonly #log = new Logger('Access');

  constructor(
    @Inject(LOG_POOL) private readonly pool: pg.Pool,
    private readonly access: Access,
  ) {}

  @Get()
  @Needs('admin')
  @Operation({ summary: 'List API keys', description: 'The newest first; never their secrets.' })
  @Answers(200, [ApiKey])
  list() {
    return listKeys(this.pool);
  }

  @Post()
  @Needs('admin')
  @Operation({
    summary: 'Make an API key',
    description: 'This answer holds the key; nothing else ever does.',
  })
  @Answers(201, CreatedApiKey)
  async create(@ValidBody(NewApiKey) request: NewApiKey, @Sender() sender: CommandOptions) {
    const change = changeBy(sender);
    const key = await createKey(this.pool, request, change);
    this.#log.log(`${change.by} made key ${key.id} (${key.name}, ${key.role})`);
    return key;
  }

  @Delete(':keyId')
  @Needs('admin')
  @Operation({
    summary: 'Revoke an API key',
    description: 'Ends it for good: at once here, and in other servers within five seconds.',
  })
  @Answers(200, ApiKey)
  async revoke(@Id('keyId') keyId: string, @Sender() sender: CommandOptions) {
    const change = changeBy(sender);
    const key = await revokeKey(this.pool, keyId, change);
    this.access.forgetKey(keyId);
    this.#log.log(`${change.by} revoked key ${key.id} (${key.name}, ${key.role})`);
    return key;
  }
}

const changeBy = ({ actor = 'unknown', origin }: CommandOptions): KeyChange => ({ by: actor, ...origin });
