import type { Position as ServerPosition } from '@eventstore/db-client';
import { WaylogError } from '#lib/platform';
import type { Position } from '../event-store.js';

/** The position before the first event: the log's own beginning, where no event of ours can stand. */
export const BEGINNING: Position = '0:0';

export const positionOf = ({ commit, prepare }: ServerPosition): Position => `${commit}:${prepare}`;

/** @throws WaylogError `position.invalid` */
export function parsePosition(position: Position): ServerPosition {
  const [, commit, prepare] = /^(\d{1,19}):(\d{1,19})$/.exec(position) ?? [];
  const parsed = { commit: BigInt(commit ?? -1), prepare: BigInt(prepare ?? -1) };
  // What is beyond has other meanings for the server, such as the end; and an event is prepared before it is committed.
  if (!commit || parsed.commit >= 2n ** 63n || parsed.prepare > parsed.commit) {
    throw new WaylogError(
      'position.invalid',
      'invalid',
      `${JSON.stringify(position)} is not a position of this log: in EventStoreDB one looks like 4711:4711.`,
    );
  }
  return parsed;
}

/** Negative when `a` is before `b`. */
export function comparePositions(a: ServerPosition, b: ServerPosition): number {
  const difference = a.commit - b.commit || a.prepare - b.prepare;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
