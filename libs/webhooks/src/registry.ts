import {
  ArrayMaxSize,
  ArrayNotEmpty,
  ArrayUnique,
  IsBoolean,
  IsIn,
  IsInt,
  IsString,
  Matches,
  MaxLength,
} from 'class-validator';
import type pg from 'pg';
import type { Position } from '#lib/event-store';
import {
  conflict,
  databaseCall,
  Example,
  HYPHENATED,
  inTransaction,
  invalidInput,
  IsText,
  IsTimestamp,
  notFound,
  Optional,
  readRows,
  timestampFromPostgres,
  validate,
  type Queryable,
  type TextRow,
  type Timestamp,
} from '#lib/platform';
import { badUrl, type Networks } from './addresses.js';
import { newSigningKey, publicKeyText, secretText, SIGNINGS, type Signing } from './signing.js';

/** Each is led by a session of its own. */
export const MAX_WEBHOOKS = 20;

/** How long the key before a rotation signs as well. */
export const ROTATION_OVERLAP_HOURS = 24;

/** Announces that webhooks have changed. */
export const WEBHOOKS_CHANGED = 'waylog_webhooks';

const HEARD = /^[a-z][a-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)?$/;

@Example<NewWebhook>({ name: 'erp', url: 'https://erp.example/waylog', signing: 'hmac' })
export class NewWebhook {
  /** Lower-case words with hyphens between, 40 characters at most. */
  @IsString() @Matches(HYPHENATED) @MaxLength(40) readonly name!: string;
  /** Where events are sent: https, without user and password. Anything else is only for networks that the operator allows. */
  @IsText() @MaxLength(2_000) readonly url!: string;
  /** Categories of streams (`order`) and types of events (`order.Paid`); all without it. */
  @Optional()
  @IsString({ each: true })
  @Matches(HEARD, { each: true })
  @MaxLength(200, { each: true })
  @ArrayNotEmpty()
  @ArrayMaxSize(200)
  @ArrayUnique()
  readonly events?: readonly string[] | null;
  /** `hmac`: the receiver gets a secret; `ed25519`: a public key. */
  @IsIn(SIGNINGS) readonly signing!: Signing;
  /** Whether fields that an erasure would reach are sent, too: it does not reach what was sent. Default false. */
  @Optional() @IsBoolean() readonly withSensitiveFields?: boolean | null;
}

/** A webhook, without what signs for it. */
export class Webhook {
  @IsString() readonly name!: string;
  @IsString() readonly url!: string;
  /** Absent: all. */
  @Optional() @IsString({ each: true }) readonly events?: readonly string[];
  @IsIn(SIGNINGS) readonly signing!: Signing;
  @IsBoolean() readonly withSensitiveFields!: boolean;
  /** What the receiver verifies with, if it signs with Ed25519. */
  @Optional() @IsString() readonly publicKey?: string;
  /** Until then the key before the last rotation signs as well. */
  @Optional() @IsTimestamp() readonly previousKeyUntil?: Timestamp;
  @IsTimestamp() readonly createdAt!: Timestamp;
  @IsString() readonly createdBy!: string;
  /** Its place among all that there ever were: the version of its reactor. */
  @IsInt() readonly number!: number;
}

/** A webhook that has just been added, or whose key is new. */
export class CreatedWebhook extends Webhook {
  /** What the receiver of an HMAC verifies with. It is shown now and never again. */
  @Optional() @IsString() readonly secret?: string;
}

/** A webhook with what signs for it. */
export interface ActiveWebhook extends Webhook {
  readonly keys: readonly Buffer[];
}

const COLUMNS = `number, name, url, events, signing, with_sensitive_fields, encode(key, 'hex'),
  case when previous_key_until > clock_timestamp() then encode(previous_key, 'hex') end,
  case when previous_key_until > clock_timestamp() then previous_key_until end, created_at, created_by`;

const ACTIVE = `select ${COLUMNS} from access.webhooks where ended_at is null order by name`;

/** Those that have not ended, with what signs for them. */
export const activeWebhooks = async (db: Queryable): Promise<ActiveWebhook[]> =>
  (await readRows(db, 'active webhooks', ACTIVE, [])).map(webhookOf);

/** Those that have not ended. */
export const listWebhooks = async (db: Queryable): Promise<Webhook[]> =>
  (await activeWebhooks(db)).map(shown);

/** Throws `webhook.not-found`. */
export async function webhookNamed(db: Queryable, name: string): Promise<ActiveWebhook> {
  const found = (await activeWebhooks(db)).find((one) => one.name === name);
  if (found) return found;
  throw unknown(name);
}

const unknown = (name: string) =>
  notFound('webhook.not-found', `There is no webhook ${name}. \`waylog webhooks list\` lists them all.`, {
    webhook: name,
  });

export interface Registering {
  readonly by: string;
  /** What may be heard: every category, and every type as `order.Paid`. */
  readonly known: ReadonlySet<string>;
  readonly allowed: Networks;
  /** Where the log ends. A webhook hears what comes after. */
  readonly head: () => Promise<Position>;
  /** Records where in the log it begins, for the version of its reactor. */
  readonly takePlace: (name: string, version: number, position: Position) => Promise<void>;
}

const INSERT = `insert into access.webhooks (number, name, url, events, signing, with_sensitive_fields, key, created_by)
  values ($1, $2, $3, $4, $5, $6, $7, $8) returning ${COLUMNS}`;

/** Adds a webhook. Throws `input.invalid`, `webhook.exists` and `webhook.too-many`. */
export async function addWebhook(
  pool: pg.Pool,
  request: NewWebhook,
  { by, known, allowed, head, takePlace }: Registering,
): Promise<CreatedWebhook> {
  validate(NewWebhook, request);
  const { name, url, events, signing, withSensitiveFields } = request;
  const bad = badUrl(url, allowed);
  const unheard = (events ?? []).filter((one) => !known.has(one));
  if (bad !== undefined || unheard.length > 0)
    throw invalidInput([
      ...(bad === undefined ? [] : [{ field: 'url', message: bad }]),
      ...unheard.map((one) => ({
        field: 'events',
        message: `names ${one}, which is neither a category of streams nor a type of events such as order.Paid`,
      })),
    ]);
  // Before a connection is taken: the log may need one of the same pool, or not answer.
  const position = await head();
  const client = await databaseCall(() => pool.connect());
  try {
    return await inTransaction(client, async () => {
      // One after another: each has its number, and so has its place in the log.
      await client.query(`lock table access.webhooks in exclusive mode`);
      const active = await activeWebhooks(client);
      if (active.some((one) => one.name === name))
        throw conflict(
          'webhook.exists',
          `There is a webhook ${name}. Take another name, or end that one: \`waylog webhooks remove ${name}\`.`,
          { webhook: name },
        );
      if (active.length >= MAX_WEBHOOKS)
        throw conflict(
          'webhook.too-many',
          `There are ${active.length} webhooks, and no more than ${MAX_WEBHOOKS} can be: each takes a session of the database. Let a ` +
            `receiver pass events on to others.`,
          { most: MAX_WEBHOOKS },
        );
      const { rows } = await client.query<{ next: number }>(
        `select coalesce(max(number), 0) + 1 as next from access.webhooks`,
      );
      const number = rows[0]?.next ?? 1;
      // Before anybody sees it: what is recorded from then on is sent.
      await takePlace(name, number, position);
      const key = newSigningKey();
      const values = [
        number,
        name,
        url,
        events ? JSON.stringify(events) : null,
        signing,
        withSensitiveFields ?? false,
        key,
        by,
      ];
      const [row] = await readRows(client, undefined, INSERT, values);
      await client.query(`select pg_notify($1, '')`, [WEBHOOKS_CHANGED]);
      return created(webhookOf(row as TextRow));
    });
  } finally {
    client.release();
  }
}

/** Ends a webhook. Throws `webhook.not-found`. */
export async function endWebhook(pool: pg.Pool, name: string, by: string): Promise<Webhook> {
  return shown(
    await change(
      pool,
      name,
      `update access.webhooks set ended_at = clock_timestamp(), ended_by = $2 where name = $1 and ended_at is null returning ${COLUMNS}`,
      [by],
    ),
  );
}

/** Makes a new key. The one before it signs as well for a day. Throws `webhook.not-found`. */
export async function rotateWebhook(pool: pg.Pool, name: string): Promise<CreatedWebhook> {
  return created(
    await change(
      pool,
      name,
      `update access.webhooks
          set key = $2, previous_key = key, previous_key_until = clock_timestamp() + interval '${ROTATION_OVERLAP_HOURS} hours'
        where name = $1 and ended_at is null returning ${COLUMNS}`,
      [newSigningKey()],
    ),
  );
}

async function change(
  pool: pg.Pool,
  name: string,
  sql: string,
  values: readonly unknown[],
): Promise<ActiveWebhook> {
  const [row] = await readRows(
    pool,
    undefined,
    `with changed as (${sql}) select changed.*, pg_notify('${WEBHOOKS_CHANGED}', '') from changed`,
    [name, ...values],
  );
  if (row) return webhookOf(row);
  throw unknown(name);
}

const shown = (webhook: ActiveWebhook): Webhook => {
  const { keys: _, ...rest } = webhook;
  return rest;
};

const created = (webhook: ActiveWebhook): CreatedWebhook => ({
  ...shown(webhook),
  ...(webhook.signing === 'hmac' && { secret: secretText(webhook.keys[0] as Buffer) }),
});

function webhookOf(row: TextRow): ActiveWebhook {
  const [
    number,
    name,
    url,
    events,
    signing,
    withSensitiveFields,
    key,
    previous,
    until,
    createdAt,
    createdBy,
  ] = row;
  const keys = [key, previous].flatMap((hex) => (hex ? [Buffer.from(hex, 'hex')] : []));
  return {
    number: Number(number),
    name: String(name),
    url: String(url),
    ...(events && { events: JSON.parse(events) as string[] }),
    signing: signing as Signing,
    withSensitiveFields: withSensitiveFields === 't',
    ...(signing === 'ed25519' && { publicKey: publicKeyText(keys[0] as Buffer) }),
    ...(until && { previousKeyUntil: timestampFromPostgres(until) }),
    createdAt: timestampFromPostgres(String(createdAt)),
    createdBy: String(createdBy),
    keys,
  };
}
