import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import {
  erasingTypes,
  isErasing,
  opens,
  withNotedErasures,
  type JsonObject,
  type Vocabulary,
} from '#lib/event-store';
import { readRows } from '#lib/platform';
import type { ChainedEvent } from './chain.js';
import type { Finding } from './explain.js';
import { isUnnamed } from './read-events.js';

/** Checks that sealed fields can be opened, and that erased ones cannot. */
export class SealedEvents {
  /** Streams with sealed fields and no key. */
  readonly #without = new Set<string>();
  /** Streams whose key does not open their sealed fields: how many events, and which key. */
  readonly #unopened = new Map<string, { events: number; readonly key: Buffer }>();
  readonly #erased = new Set<string>();
  #withNoted: Promise<Vocabulary> | undefined;

  constructor(
    private readonly client: ClientBase,
    private readonly declared: Vocabulary,
  ) {}

  get #vocabulary(): Promise<Vocabulary> {
    return (this.#withNoted ??= withNotedErasures(this.client, this.declared));
  }

  async look(page: readonly ChainedEvent[]): Promise<void> {
    const vocabulary = await this.#vocabulary;
    for (const event of page) if (isErasing(vocabulary, event)) this.#erased.add(event.streamId);
    const sealed = page.flatMap((event) => {
      // Parsing events without sealed fields would cost more than the chain.
      if (!event.data.includes('"sealed"') || isUnnamed(event.streamId)) return [];
      const data = parsed(event.data);
      return typeof data?.['sealed'] === 'string' ? [{ ...event, data }] : [];
    });
    if (sealed.length === 0) return;
    const rows = await readRows(
      this.client,
      undefined,
      `select stream_id, encode(key, 'hex') from log.data_keys
        where stream_id = any ($1::text[]) and key is not null`,
      [[...new Set(sealed.map(({ streamId }) => streamId))]],
    );
    const keys = new Map(
      (rows as [string, string][]).map(([id, key]) => [id, Buffer.from(key, 'hex')] as const),
    );
    for (const event of sealed) {
      const key = keys.get(event.streamId);
      if (!key) this.#without.add(event.streamId);
      else if (!opens(key, event)) {
        const unopened = this.#unopened.get(event.streamId);
        if (unopened) unopened.events++;
        else this.#unopened.set(event.streamId, { events: 1, key });
      }
    }
  }

  /**
   * Fields that cannot be opened although they were not erased. `changed`: streams whose events are not what was
   * recorded.
   */
  async unopened(changed: ReadonlySet<string>): Promise<Finding[]> {
    const rows = await readRows(
      this.client,
      undefined,
      `select distinct s.stream_id from log.streams s join log.events e using (stream_key)
         join unnest($2::text[], $3::text[]) as erasing (category, type)
           on erasing.type = e.type and starts_with(s.stream_id, erasing.category || '-')
        where s.stream_id = any ($1::text[])`,
      [[...this.#without, ...this.#unopened.keys()], ...erasingTypes(await this.#vocabulary)],
    );
    const erased = new Set(rows.map(([streamId]) => streamId));
    const missing = [...this.#without].flatMap((streamId): Finding[] =>
      erased.has(streamId)
        ? []
        : [
            {
              problem: {
                code: 'key-missing',
                streamId,
                detail:
                  'its key is gone, and no event says that it was erased: what is sealed in it cannot be read. Bring the key back from a backup (log.data_keys)',
              },
              coveredFrom: 0,
              mark: `key missing ${streamId}`,
            },
          ],
    );
    // Erased fields cannot be read, and if events were changed the key is not at fault.
    const swapped = [...this.#unopened].flatMap(([streamId, { events, key }]): Finding[] =>
      erased.has(streamId) || changed.has(streamId)
        ? []
        : [
            {
              problem: {
                code: 'key-swapped',
                streamId,
                detail: `its key does not open what is sealed in ${events === 1 ? 'an event' : `${events} events`} of it: it is not the key that sealed them. Bring that back from a backup (log.data_keys)`,
              },
              coveredFrom: 0,
              mark: `key swapped ${streamId} ${createHash('sha256').update(key).digest('hex')}`,
            },
          ],
    );
    return [...missing, ...swapped];
  }

  /** Remains of erased streams: a process was killed during the erasure, or a backup has brought them back. */
  async left(): Promise<Finding[]> {
    const rows = await readRows(
      this.client,
      undefined,
      `select stream_id, true from log.data_keys where stream_id = any ($1::text[]) and key is not null
       union all
       select distinct stream_id, false from log.snapshots
        where stream_id = any ($1::text[]) and not starts_with(state, 'sealed:')
       order by 1, 2 desc`,
      [[...this.#erased]],
    );
    return rows.map(([streamId, isKey]) => ({
      problem: {
        streamId: streamId as string,
        ...(isKey === 't'
          ? {
              code: 'key-left',
              detail: 'it was erased, and the key that opens what was sensitive is there: erase it again',
            }
          : {
              code: 'snapshot-left',
              detail: 'it was erased, and a snapshot of its state is there in the clear: erase it again',
            }),
      },
    }));
  }
}

function parsed(text: string): JsonObject | undefined {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    // PostgreSQL accepts JSON that JavaScript does not. Waylog never wrote it, and the chain reports it.
    return undefined;
  }
}
