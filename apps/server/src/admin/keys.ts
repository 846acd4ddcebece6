import { Controller, Delete, Get, Inject, Logger, Post, Req } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import pg from 'pg';
import { ApiKey, CreatedApiKey, createKey, listKeys, NewApiKey, revokeKey } from '#lib/access';
import { LOG_POOL } from '#lib/flight';
import { Access } from '../access/access.js';
import { Answers } from '../http/answer.js';
import { Id, ValidBody } from '../http/input.js';

/** The keys of this API. */
@ApiTags('admin')
@Controller('v1/admin/keys')
export class KeysController {
  readonly #log = new Logger('Access');

  constructor(
    @Inject(LOG_POOL) private readonly pool: pg.Pool,
    private readonly access: Access,
  ) {}

  @Get()
  @ApiOperation({ summary: 'List API keys', description: 'The newest first; never their secrets.' })
  @Answers(200, [ApiKey])
  list() {
    return listKeys(this.pool);
  }

  @Post()
  @ApiOperation({
    summary: 'Make an API key',
    description: 'This answer holds the key; nothing else ever does.',
  })
  @Answers(201, CreatedApiKey)
  async create(@ValidBody(NewApiKey) request: NewApiKey, @Req() { principal }: FastifyRequest) {
    const key = await createKey(this.pool, request);
    this.#log.log(`${principal?.actor ?? 'nobody'} made key ${key.id} (${key.name}, ${key.role})`);
    return key;
  }

  @Delete(':keyId')
  @ApiOperation({
    summary: 'Revoke an API key',
    description: 'Ends it for good: at once here, and in other servers within five seconds.',
  })
  @Answers(200, ApiKey)
  async revoke(@Id('keyId') keyId: string, @Req() { principal }: FastifyRequest) {
    const key = await revokeKey(this.pool, keyId);
    this.access.forgetKey(keyId);
    this.#log.log(`${principal?.actor ?? 'nobody'} revoked key ${key.id} (${key.name}, ${key.role})`);
    return key;
  }
}
