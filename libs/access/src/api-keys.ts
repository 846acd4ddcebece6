import { IsIn, IsString, MaxLength, MinLength } from 'class-validator';
import type pg from 'pg';
import {
  Example,
  databaseCall,
  inTransaction,
  IsName,
  IsTimestamp,
  invalidInput,
  millisecondsOf,
  Nested,
  notFound,
  Optional,
  readRows,
  timestampFromPostgres,
  validate,
  type Queryable,
  type TextRow,
  type Timestamp,
} from '#lib/platform';
import { hashOfSecret, keyText, newKeyParts } from './key-text.js';
import { ACCESS_ROLES, type AccessRole } from './roles.js';

/** Longer names would not leave room for the rest of `key:<name>#<id>`, which is an id of at most 128 characters. */
const MAX_NAME = 64;

const STATES = ['valid', 'expired', 'revoked'] as const;

/** Who created or revoked a key, and from where, if known. */
export class KeyChange {
  /** An actor, as events name it, or `cli <user>`. */
  @IsString() readonly by!: string;
  @Optional() @IsString() readonly address?: string;
  @Optional() @IsString() readonly agent?: string;
  @Optional() @IsString() readonly session?: string;
}

/** What can be known of a key. Its secret is not stored anywhere. */
export class ApiKey {
  @IsString() readonly id!: string;
  /** Who or what it was created for. */
  @IsString() readonly name!: string;
  @IsIn(ACCESS_ROLES) readonly role!: AccessRole;
  @IsIn(STATES) readonly state!: (typeof STATES)[number];
  @IsTimestamp() readonly createdAt!: Timestamp;
  /** Absent: it does not expire. */
  @Optional() @IsTimestamp() readonly expiresAt?: Timestamp;
  /** To the minute; absent: never. */
  @Optional() @IsTimestamp() readonly lastUsedAt?: Timestamp;
  @Optional() @IsTimestamp() readonly revokedAt?: Timestamp;
  /** Absent for keys that were created before this was recorded. */
  @Optional() @Nested(() => KeyChange) readonly created?: KeyChange;
  @Optional() @Nested(() => KeyChange) readonly revoked?: KeyChange;
}

/** A key that has just been created. */
export class CreatedApiKey extends ApiKey {
  /** The key itself. It is shown now and never again. */
  @IsString() readonly key!: string;
}

@Example<NewApiKey>({ name: 'tracker', role: 'operator' })
export class NewApiKey {
  /** Who or what it is for; its events name it as their actor. */
  @IsName() @MinLength(1) @MaxLength(MAX_NAME) readonly name!: string;
  @IsIn(ACCESS_ROLES) readonly role!: AccessRole;
  /** When it expires; default never. */
  @Optional() @IsTimestamp() readonly expiresAt?: Timestamp | null;
}

const COLUMNS = `id, name, role, created_at, expires_at, last_used_at, revoked_at, created, revoked`;

const CREATE = `insert into access.api_keys (id, name, role, hash, expires_at, created) values ($1, $2, $3, $4, $5, $6)
  returning ${COLUMNS}`;

/** Creates a key. Throws `input.invalid`, also for an expiry in the past. */
export async function createKey(
  db: Queryable,
  request: NewApiKey,
  change: KeyChange,
): Promise<CreatedApiKey> {
  validate(NewApiKey, request);
  const { name, role, expiresAt } = request;
  if (expiresAt && millisecondsOf(expiresAt) <= Date.now())
    throw invalidInput([{ field: 'expiresAt', message: `is ${expiresAt}, which has passed` }]);
  const parts = newKeyParts();
  const [row] = await readRows(db, undefined, CREATE, [
    parts.id,
    name,
    role,
    hashOfSecret(parts.secret),
    expiresAt ?? null,
    JSON.stringify(change),
  ]);
  return { ...keyOf(row as TextRow), key: keyText(parts) };
}

/** All keys, including invalid ones, the newest first. */
export async function listKeys(db: Queryable): Promise<ApiKey[]> {
  const sql = `select ${COLUMNS} from access.api_keys order by created_at desc, id`;
  return (await readRows(db, undefined, sql, [])).map(keyOf);
}

const REVOKE = `update access.api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()),
         revoked = case when revoked_at is null then $2::jsonb else revoked end
   where id = $1
  returning ${COLUMNS}`;

/** Revokes a key permanently; a second time changes nothing. Throws `key.not-found`. */
export async function revokeKey(db: Queryable, id: string, change: KeyChange): Promise<ApiKey> {
  const [row] = await readRows(db, undefined, REVOKE, [id, JSON.stringify(change)]);
  if (row) return keyOf(row);
  throw notFound('key.not-found', `There is no key ${id}. \`waylog keys list\` lists them all.`, { id });
}

/** A key as it is checked: with the hash of its secret. */
export interface StoredKey extends ApiKey {
  readonly hash: Buffer;
}

/** The key of an id, valid or not; undefined if there is none. */
export async function findKey(db: Queryable, id: string): Promise<StoredKey | undefined> {
  const sql = `select ${COLUMNS}, encode(hash, 'hex') from access.api_keys where id = $1`;
  const [row] = await readRows(db, 'find api key', sql, [id]);
  return row && { ...keyOf(row), hash: Buffer.from(String(row.at(-1)), 'hex') };
}

const NOTE_USE = `update access.api_keys set last_used_at = $2
  where id = $1 and (last_used_at is null or last_used_at < $2)`;

/** Notes that a key was used. */
export async function noteKeyUse(db: Queryable, id: string, at: Timestamp): Promise<void> {
  await readRows(db, undefined, NOTE_USE, [id, at]);
}

/** How many keys there are, and how many of them are valid. */
export async function countKeys(db: Queryable): Promise<{ readonly all: number; readonly valid: number }> {
  const sql = `select count(*), count(*) filter (where revoked_at is null and
      (expires_at is null or expires_at > clock_timestamp())) from access.api_keys`;
  const [row] = await readRows(db, undefined, sql, []);
  return { all: Number(row?.[0]), valid: Number(row?.[1]) };
}

/** Creates a key if there has never been one. Of many processes that try at once, one gets it. */
export async function createFirstKey(
  pool: pg.Pool,
  request: NewApiKey,
  change: KeyChange,
): Promise<CreatedApiKey | undefined> {
  const client = await databaseCall(() => pool.connect());
  try {
    return await inTransaction(client, async () => {
      await client.query('lock table access.api_keys in exclusive mode');
      return (await countKeys(client)).all === 0 ? await createKey(client, request, change) : undefined;
    });
  } finally {
    client.release();
  }
}

function keyOf([id, name, role, createdAt, expiresAt, lastUsedAt, revokedAt, made, ended]: TextRow): ApiKey {
  const time = (text: string | null | undefined) => (text ? timestampFromPostgres(text) : undefined);
  const expires = time(expiresAt);
  const used = time(lastUsedAt);
  const revoked = time(revokedAt);
  return {
    id: String(id),
    name: String(name),
    role: role as AccessRole,
    state: revoked ? 'revoked' : expires && millisecondsOf(expires) <= Date.now() ? 'expired' : 'valid',
    createdAt: timestampFromPostgres(String(createdAt)),
    ...(expires && { expiresAt: expires }),
    ...(used && { lastUsedAt: used }),
    ...(revoked && { revokedAt: revoked }),
    ...(made && { created: JSON.parse(made) as KeyChange }),
    ...(ended && { revoked: JSON.parse(ended) as KeyChange }),
  };
}
