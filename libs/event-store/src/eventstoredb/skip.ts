import { ANY, binaryEvent } from '@eventstore/db-client';
import type { ClientBase } from 'pg';
import type { Position } from '../event-store.js';
import { historyOver, type History } from '../history/histories.js';
import type { Connection } from './connection.js';
import type { Node } from './node.js';
import { BEGINNING, comparePositions, parsePosition, positionOf } from './position.js';
import { readLast } from './read.js';

/** Its events say nothing. They take the positions up which the log had come before it went back. */
const STREAM = 'waylog.skipped';
/** Half of what a server takes at once by itself. */
const FILLER = new Uint8Array(512 * 1024);

/**
 * Brings the log beyond a position that an event had which is gone, so that no other one gets it. Positions of EventStoreDB are
 * places in its files: the way is to write there. Where somebody has done so already, it says with what history.
 */
export async function skipBeyond(
  node: Node,
  seen: Position,
  {
    connection,
    client,
    keptAtMost,
  }: {
    readonly connection: Connection;
    readonly client: ClientBase;
    readonly keptAtMost: Position | undefined;
  },
): Promise<History & { readonly isNew: boolean }> {
  const { credentials, attemptMs: deadline } = connection;
  const known = await historyOver(
    client,
    ({ kept, resumesAfter }) => isBefore(kept, seen) && !isBefore(resumesAfter, seen),
  );
  if (known) return { ...known, isNew: false };
  const [last] = await readLast(node, 1, connection, deadline);
  const end = last?.event ? positionOf(last.event.position) : BEGINNING;
  // It is longer again than it was, unnoticed: which of its events are new, nobody can say, and none is refused for it.
  if (!isBefore(end, seen)) {
    const kept = keptAtMost ?? BEGINNING;
    return { kept, resumesAfter: kept, isNew: true };
  }
  const kept = end;
  let resumesAfter = end;
  while (!isBefore(seen, resumesAfter)) {
    const filler = binaryEvent({ type: 'skipped', data: FILLER });
    const { position } = await node.appendToStream(STREAM, filler, {
      expectedRevision: ANY,
      credentials,
      requiresLeader: true,
      deadline,
    });
    if (!position) throw new Error('EventStoreDB does not say where it has recorded an event');
    resumesAfter = positionOf(position);
  }
  return { kept, resumesAfter, isNew: true };
}

const isBefore = (a: Position, b: Position): boolean =>
  comparePositions(parsePosition(a), parsePosition(b)) < 0;
