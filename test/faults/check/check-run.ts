import type { Read, Write } from '../history.js';
import type { Evidence, LogEvent, TableName } from './evidence.js';
import { foldTables, valueOf } from './fold.js';

/** The findings of the checker: each list names cases, and all of them must be empty. */
export interface Verdict {
  /** Acknowledged, but missing from the log in whole or in part. */
  readonly lost: readonly string[];
  /** In the log more than once. */
  readonly doubled: readonly string[];
  /** Refused, but in the log; or in it without having been sent. */
  readonly uninvited: readonly string[];
  /** Acknowledged with another revision or position than in the log; or not contiguous in the log. */
  readonly misplaced: readonly string[];
  /** Revisions of a flight, or positions, that are missing, or do not go up together. */
  readonly gaps: readonly string[];
  /** Acknowledged before another was sent, but recorded after it. */
  readonly disorder: readonly string[];
  /** Reads older than requested, or older than what an earlier reader had read, or of what was never written. */
  readonly stale: readonly string[];
  /** Rows that differ from the log. */
  readonly wrongRows: readonly string[];
  /** Flights that a projector has parked, and findings of Waylog's own verification. */
  readonly complaints: readonly string[];
}

export const isClean = (verdict: Verdict): boolean =>
  Object.values(verdict).every((found: readonly string[]) => found.length === 0);

/** Compares the answers to clients with the log and the tables. */
export function checkRun(
  run: { readonly writes: readonly Write[]; readonly reads: readonly Read[] },
  evidence: Evidence,
): Verdict {
  const { events } = evidence;
  const byCommand = grouped(events, ({ commandId }) => commandId);
  return {
    ...checkCommands(run.writes, byCommand),
    gaps: checkGaps(events),
    disorder: checkOrder(run.writes),
    stale: checkReads(run.reads, events),
    wrongRows: checkTables(evidence),
    complaints: [
      ...evidence.parked.map((stream) => `${stream} is parked`),
      ...evidence.findings.map((finding) => `the scheduled verification found ${finding}`),
    ],
  };
}

function checkCommands(writes: readonly Write[], byCommand: ReadonlyMap<string, readonly LogEvent[]>) {
  const lost: string[] = [];
  const doubled: string[] = [];
  const uninvited: string[] = [];
  const misplaced: string[] = [];
  const known = new Set<string>();
  for (const write of writes) {
    const { commandId, flightId, outcome, events: expected } = write;
    const said = `${write.name} ${commandId}`;
    known.add(commandId);
    const found = byCommand.get(commandId) ?? [];
    const streams = new Set(found.map(({ streamId }) => streamId));
    if (found.length > expected || streams.size > 1)
      doubled.push(`${said}: ${found.length} events instead of ${expected}, in ${[...streams].join(', ')}`);
    if (outcome === 'refused' && found.length > 0) uninvited.push(`${said} was refused`);
    if (outcome === 'acknowledged' && found.length < expected)
      lost.push(`${said}: ${found.length} events instead of ${expected}`);
    // It is unknown whether it was recorded; but half of it must not be.
    if (outcome === 'unknown' && found.length > 0 && found.length < expected)
      misplaced.push(`${said}: ${found.length} events of ${expected}`);
    const last = found.at(-1);
    if (outcome !== 'acknowledged' || !last || found.length !== expected) continue;
    const first = found[0] as LogEvent;
    if (
      last.position - first.position !== BigInt(expected - 1) ||
      last.revision - first.revision !== expected - 1
    )
      misplaced.push(`${said}: its events do not stand next to each other`);
    if (last.revision !== write.revision || String(last.position) !== write.position)
      misplaced.push(
        `${said}: acknowledged at revision ${write.revision ?? '?'}, position ${write.position ?? '?'}; the log has ` +
          `it at ${last.revision}, ${last.position}`,
      );
    if (last.streamId !== `flight-${flightId}`) misplaced.push(`${said}: recorded in ${last.streamId}`);
  }
  for (const [commandId, [event]] of byCommand)
    if (!known.has(commandId)) uninvited.push(`nobody sent ${commandId} (${event?.type ?? ''})`);
  return { lost, doubled, uninvited, misplaced };
}

/** `events` in the order of their positions. */
function checkGaps(events: readonly LogEvent[]): string[] {
  const gaps: string[] = [];
  const revisions = new Map<string, number>();
  const ids = new Set<string>();
  let position = 0n;
  for (const event of events) {
    if (event.position !== position + 1n) gaps.push(`position ${event.position} follows ${position}`);
    position = event.position;
    const before = revisions.get(event.streamId) ?? -1;
    if (event.revision !== before + 1)
      gaps.push(`${event.streamId}: revision ${event.revision} follows ${before}`);
    revisions.set(event.streamId, event.revision);
    if (ids.has(event.id)) gaps.push(`the event id ${event.id} stands twice in the log`);
    ids.add(event.id);
  }
  return gaps;
}

/** A command that was acknowledged before another was sent must come before it: in its flight, and in the whole log. */
function checkOrder(writes: readonly Write[]): string[] {
  const found: string[] = [];
  const acknowledged = writes.filter(({ outcome }) => outcome === 'acknowledged');
  const byEnd = [...acknowledged].sort((a, b) => a.ended - b.ended);
  const newest = new Map<string, Write>();
  let newestOfAll: Write | undefined;
  let ended = 0;
  for (const write of [...acknowledged].sort((a, b) => a.invoked - b.invoked)) {
    for (; (byEnd[ended]?.ended ?? Infinity) < write.invoked; ended++) {
      const before = byEnd[ended] as Write;
      if (revisionOf(before) > revisionOf(newest.get(before.flightId))) newest.set(before.flightId, before);
      if (positionOf(before) > positionOf(newestOfAll)) newestOfAll = before;
    }
    const said = `${write.name} ${write.commandId}`;
    const inFlight = newest.get(write.flightId);
    if (inFlight && revisionOf(inFlight) >= revisionOf(write))
      found.push(
        `${said} got revision ${revisionOf(write)} of ${write.flightId}, and ${inFlight.commandId}, acknowledged ` +
          `before it was sent, has ${revisionOf(inFlight)}`,
      );
    if (newestOfAll && positionOf(newestOfAll) >= positionOf(write))
      found.push(
        `${said} got position ${positionOf(write)}, and ${newestOfAll.commandId}, acknowledged before it was sent, has ` +
          String(positionOf(newestOfAll)),
      );
  }
  return found;
}

const revisionOf = (write: Write | undefined): number => write?.revision ?? -1;
const positionOf = (write: Write | undefined): bigint => BigInt(write?.position ?? 0);

interface Version {
  readonly position: bigint;
  readonly value: number;
}

function checkReads(reads: readonly Read[], events: readonly LogEvent[]): string[] {
  const found: string[] = [];
  const versions = new Map<string, Version[]>();
  for (const event of events) {
    const written = valueOf(event);
    if (!written) continue;
    const { key, value } = written;
    const known = versions.get(key);
    if (known) known.push({ position: event.position, value });
    else versions.set(key, [{ position: event.position, value }]);
  }
  for (const [key, ofKey] of grouped(reads, (read) => read.key)) {
    const history = versions.get(key) ?? [];
    const index = new Map(history.map(({ value }, i) => [value, i]));
    // The version that each read saw; -1 for "no such row".
    const seen = ofKey.map((read) => ({
      read,
      version: read.value === null ? -1 : (index.get(read.value) ?? undefined),
    }));
    for (const { read, version } of seen) {
      if (version === undefined) {
        found.push(`${read.client} read ${read.value ?? 'nothing'} of ${key}, which the log does not have`);
        continue;
      }
      if (read.minPosition === undefined) continue;
      const min = BigInt(read.minPosition);
      const least = history.findLastIndex(({ position }) => position <= min);
      if (version < least)
        found.push(
          `${read.client} asked for ${key} at position ${min} and read ${read.value ?? 'nothing'}, which was overwritten at ` +
            `position ${history[version + 1]?.position ?? '?'}`,
        );
    }
    found.push(...goingBack(key, seen));
  }
  return found;
}

/** There is one set of tables, and it moves forward: a later reader sees at least what an earlier one saw. */
function goingBack(
  key: string,
  seen: readonly { readonly read: Read; readonly version: number | undefined }[],
): string[] {
  const known = seen.filter((s): s is { read: Read; version: number } => s.version !== undefined);
  const byEnd = [...known].sort((a, b) => a.read.ended - b.read.ended);
  const found: string[] = [];
  let newest = -1;
  let ended = 0;
  for (const { read, version } of [...known].sort((a, b) => a.read.invoked - b.read.invoked)) {
    for (; (byEnd[ended]?.read.ended ?? Infinity) < read.invoked; ended++)
      newest = Math.max(newest, byEnd[ended]?.version ?? -1);
    if (version < newest)
      found.push(
        `${read.client} read version ${version} of ${key} after somebody had read version ${newest}`,
      );
  }
  return found;
}

function checkTables({ events, tables }: Evidence): string[] {
  const found: string[] = [];
  const expected = foldTables(events);
  for (const table of Object.keys(expected) as TableName[]) {
    for (const [key, row] of expected[table]) {
      const actual = tables[table].get(key);
      if (actual !== row) found.push(`${table} ${key}: ${actual ?? 'no row'} instead of ${row}`);
    }
    for (const [key, row] of tables[table])
      if (!expected[table].has(key)) found.push(`${table} ${key}: ${row} instead of no row`);
  }
  return found;
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
