import type { Position as ServerPosition } from '@eventstore/db-client';
import { WaylogError } from '#lib/platform';
import type { Position } from '../event-store.js';

/** The position before the first event: the log's own beginning, where no event of ours can stand. */
export const BEGINNING: Position = '0:0';

export const positionOf = ({ commit, prepare }: ServerPosition): Position => `${commit}:${prepare}`;

/** @throws WaylogError `position.invalid` */
export function parsePosition(position: Position): ServerPosition {
  const match = /^(\d{1,19}):(\d{1,19})$/.exec(position);
  if (!match) {
    throw new WaylogError(
      'position.invalid',
      'invalid',
      `${JSON.stringify(position)} is not a position of this log: in EventStoreDB one looks like 4711:4711.`,
    );
  }
  return { commit: BigInt(match[1] as string), prepare: BigInt(match[2] as string) };
}

/** Negative when `a` is before `b`. */
export function comparePositions(a: ServerPosition, b: ServerPosition): number {
  const difference = a.commit - b.commit || a.prepare - b.prepare;
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
