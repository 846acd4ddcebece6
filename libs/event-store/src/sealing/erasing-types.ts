import type { ClientBase, Pool } from 'pg';
import { erasingTypes, type KnownEvents, type Vocabulary } from '../vocabulary.js';

type Queryable = Pick<ClientBase | Pool, 'query'>;

/**
 * What this code knows of events, and which others erase a stream of a category that it does not know. Of those that it
 * knows, it alone says what erases them: what is noted could pass off a lost key as an erasure.
 */
export async function withNotedErasures(client: Queryable, vocabulary: Vocabulary): Promise<Vocabulary> {
  const noted: Record<string, KnownEvents & { erasedBy: string[] }> = {};
  for (const { category, type } of await notedTypes(client))
    if (!Object.hasOwn(vocabulary, category)) (noted[category] ??= { erasedBy: [] }).erasedBy.push(type);
  return { ...noted, ...vocabulary };
}

async function notedTypes(client: Queryable): Promise<{ category: string; type: string }[]> {
  // A failed statement would end the transaction of an audit.
  const { rows: found } = await client.query<{ is: boolean }>(
    `select to_regclass('log.erasing_types') is not null as is`,
  );
  if (!found[0]?.is) return [];
  return (
    await client.query<{ category: string; type: string }>(`select category, type from log.erasing_types`)
  ).rows;
}

/** Notes which types of events erase a stream. Only the owner of the log can. */
export const noteErasures = (
  query: (sql: string, values: unknown[]) => Promise<unknown>,
  vocabulary: Vocabulary,
): Promise<unknown> =>
  query(
    `insert into log.erasing_types (category, type) select * from unnest($1::text[], $2::text[]) on conflict do nothing`,
    [...erasingTypes(vocabulary)],
  );
