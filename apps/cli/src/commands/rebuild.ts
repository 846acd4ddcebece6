import { setTimeout as sleep } from 'node:timers/promises';
import type { INestApplicationContext } from '@nestjs/common';
import { Command } from 'commander';
import type { EventStore } from '#lib/event-store';
import { EVENT_STORE, flightProjections } from '#lib/flight';
import { CheckpointWatch, Projector, rebuild, type RebuildResult } from '#lib/projections';
import { print, UsageError, withWaylog } from '../context.js';
import { withProgress } from '../progress-bar.js';

const names = flightProjections.map(({ name }) => name);

export function rebuildCommand(): Command {
  return new Command('rebuild')
    .description(
      'Make tables anew from the log, beside the live ones, and put them in their place. Reads go on meanwhile.',
    )
    .argument('[projections...]', `which: ${names.join(', ')}; all of them when none is named`)
    .action(async (wanted: string[], _options, command: Command) => {
      const results = await foldAnew(command, wanted, 'replace');
      print(command, { results }, results.map((r) => line(r, 'replaced')).join('\n'));
    });
}

export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'Fold the log into shadow tables and compare them with the live ones by hash. Nothing is changed.',
    )
    .argument('[projections...]', `which: ${names.join(', ')}; all of them when none is named`)
    .action(async (wanted: string[], _options, command: Command) => {
      const results = await foldAnew(command, wanted, 'compare');
      print(command, { results }, results.map((r) => line(r, 'compared')).join('\n'));
      if (results.some(({ identical }) => !identical)) process.exitCode = 3;
    });
}

async function foldAnew(
  command: Command,
  wanted: string[],
  mode: 'replace' | 'compare',
): Promise<RebuildResult[]> {
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new UsageError(`There is no projection ${unknown.join(', ')}. There are ${names.join(', ')}.`);
  return withWaylog(command, async (app, connectionString) => {
    const store = app.get<EventStore>(EVENT_STORE);
    await caughtUp(app, store);
    const { events: total } = await store.backlog(store.beginning);
    const results: RebuildResult[] = [];
    for (const projection of flightProjections.filter(
      ({ name }) => wanted.length === 0 || wanted.includes(name),
    )) {
      results.push(
        await withProgress(projection.name.padEnd(15), total, (update) =>
          rebuild({ projection, store, connectionString, mode, onProgress: update }),
        ),
      );
    }
    return results;
  });
}

/** A table that is behind would differ for no fault of its own. Ends when the projector cannot go on. */
async function caughtUp(app: INestApplicationContext, store: EventStore): Promise<void> {
  const stop = new AbortController();
  try {
    await Promise.race([
      app.get(CheckpointWatch).waitFor(await store.head(), 10 * 60_000),
      stuck(app, stop.signal),
    ]);
  } finally {
    stop.abort();
  }
}

const STUCK_AFTER_SECONDS = 15;

async function stuck(app: INestApplicationContext, signal: AbortSignal): Promise<never> {
  const { status } = app.get(Projector);
  let position = status.position;
  for (let seconds = 0; seconds < STUCK_AFTER_SECONDS; seconds++) {
    await sleep(1_000, undefined, { signal, ref: false });
    const now = app.get(Projector).status;
    if (now.state !== 'failing' || now.position !== position) seconds = 0;
    position = now.position;
  }
  throw new Error(
    `The projector cannot go on: ${app.get(Projector).status.lastError?.message ?? 'it does not say why'}`,
  );
}

const line = ({ projection, events, live, rebuilt, identical }: RebuildResult, what: string): string =>
  `${projection.padEnd(15)} ${what} · ${events} events · ${rebuilt.rows} rows · ` +
  (identical
    ? 'identical'
    : `DIFFERENT: the live table had ${live.rows} rows, hash ${live.hash}, not ${rebuilt.hash}`);
