import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { encodeState, type Decider, type DomainEvent, type RecordedEvent } from '#lib/event-store';
import { foldInMemory } from '#lib/projections';
import type { Context } from '#lib/waylog';

/** The events of a file with one per line, as far as folds see them. */
export const recordedEvents = (file: string): RecordedEvent[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RecordedEvent);

/**
 * What the folds and states of a context make of a log, as a hash for each, by its name and version. A fold that makes
 * something else of the same events needs a new version: tables and snapshots of the old one would be taken for its own.
 */
export async function madeOf(
  context: Context,
  events: readonly RecordedEvent[],
): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  const rows = await foldInMemory(context.projections, pageOf(events));
  for (const { name, version, table } of context.projections)
    made[`${name} ${version}`] = hashOf(
      JSON.stringify(sorted(await rows.select({ table, where: {}, orderBy: table.key }))),
    );
  for (const { category, decider } of context.streams) {
    const { initialState, evolve, version } = decider as Decider<object, DomainEvent>;
    const states = new Map<string, object>();
    for (const event of events.filter(({ streamId }) => category.includes(streamId)))
      states.set(event.streamId, evolve(states.get(event.streamId) ?? initialState(), event));
    made[`${category.name} ${version}`] = hashOf([...states.values()].map(encodeState).join('\n'));
  }
  return made;
}

async function* pageOf(events: readonly RecordedEvent[]): AsyncIterable<readonly RecordedEvent[]> {
  yield await Promise.resolve(events);
}

const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

/** With the names of objects in order. */
const sorted = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(sorted)
    : typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value)
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(([name, one]) => [name, sorted(one)]),
        )
      : value;
