import { Controller, Delete, Get, HttpCode, Logger, Post } from '@nestjs/common';
import { IsInt, IsString } from 'class-validator';
import { Optional } from '#lib/platform';
import { Answers, Id, Needs, Operation, Sender, Tag, ValidBody } from '#lib/rest';
import { Webhooks, type CommandOptions } from '#lib/waylog';
import { CreatedWebhook, NewWebhook, Webhook } from '#lib/webhooks';

class WebhookTest {
  /** What the receiver has answered; from 200 to 299 it has taken the message. */
  @Optional() @IsInt() readonly status?: number;
  /** Why there is no answer. */
  @Optional() @IsString() readonly error?: string;
}

/** The receivers that events are sent to. Each is a reactor: its state is among those. */
@Tag('admin')
@Controller('v1/admin/webhooks')
export class WebhooksController {
  readonly #log = new Logger('Access');

  constructor(private readonly webhooks: Webhooks) {}

  @Get()
  @Needs('admin')
  @Operation({ summary: 'List webhooks', description: 'Never with the secrets that sign for them.' })
  @Answers(200, [Webhook])
  list() {
    return this.webhooks.list();
  }

  @Post()
  @Needs('admin')
  @Operation({
    summary: 'Add a webhook',
    description:
      'It is sent what is recorded from now on. This answer holds the secret of an HMAC; nothing else ever does.',
  })
  @Answers(201, CreatedWebhook)
  async add(@ValidBody(NewWebhook) request: NewWebhook, @Sender() sender: CommandOptions) {
    const by = senderOf(sender);
    const added = await this.webhooks.add(request, by);
    this.#log.log(`${by} added the webhook ${added.name}`);
    return added;
  }

  @Delete(':webhook')
  @Needs('admin')
  @Operation({ summary: 'End a webhook', description: 'Within seconds nothing is sent to it any more.' })
  @Answers(200, Webhook)
  async remove(@Id('webhook') name: string, @Sender() sender: CommandOptions) {
    const by = senderOf(sender);
    const ended = await this.webhooks.remove(name, by);
    this.#log.log(`${by} ended the webhook ${name}`);
    return ended;
  }

  @Post(':webhook/rotate')
  @HttpCode(200)
  @Needs('admin')
  @Operation({
    summary: 'Give a webhook a new key',
    description: 'For 24 hours the one before signs as well, in the same header.',
  })
  @Answers(200, CreatedWebhook)
  async rotate(@Id('webhook') name: string, @Sender() sender: CommandOptions) {
    const rotated = await this.webhooks.rotate(name);
    this.#log.log(`${senderOf(sender)} gave the webhook ${name} a new key`);
    return rotated;
  }

  @Post(':webhook/test')
  @HttpCode(200)
  @Needs('admin')
  @Operation({
    summary: 'Test a webhook',
    description: 'Sends a message of the type `waylog.test`, once, and says what was answered.',
  })
  @Answers(200, WebhookTest)
  test(@Id('webhook') name: string) {
    return this.webhooks.test(name);
  }
}

const senderOf = ({ actor = 'unknown' }: CommandOptions): string => actor;
