import { Logger } from '@nestjs/common';
import type pg from 'pg';
import { messageOf, type Listener } from '#lib/platform';
import { DecisionRoom, DecisionStreams, PartOfLog, type DataKeys, type EventStore } from '#lib/event-store';
import { CheckpointWatch, Projector } from '#lib/projections';
import type { DatabaseAccess } from '#lib/timescale';
import { claimSecret } from './claim-kind.js';
import { CommandRunner, type AnyCommandRunner } from './command-runner.js';
import type { Context } from './context.js';
import { foldFirst } from './foldable.js';
import { tell, warnOfObserver } from './observing.js';
import type { WaylogOptions } from './options.js';
import { RunningContexts, type RunningContext } from './running-contexts.js';
import type { AnyStreamType } from './stream-type.js';

interface Connected {
  readonly store: EventStore;
  readonly queries: pg.Pool;
  readonly tables: pg.Pool;
  readonly listener: Listener;
  readonly access: DatabaseAccess;
  readonly keys: DataKeys;
}

/** Makes what each context needs to run: its projector and followers, and what decides the commands of its streams. */
export function runContexts(options: WaylogOptions, connected: Connected): RunningContexts {
  const { store, queries, tables, listener, access, keys } = connected;
  const { contexts, maxPendingCommands, decisionCacheBytes, onCommand, settings } = options;
  const log = new Logger('Waylog');
  const info = (message: string) => log.log(message);
  const warn = (message: string, error?: unknown) =>
    log.warn(error === undefined ? message : `${message}: ${messageOf(error)}`);
  const room = new DecisionRoom({
    ...(maxPendingCommands !== undefined && { maxPending: maxPendingCommands }),
    ...(decisionCacheBytes !== undefined && { cacheBytes: decisionCacheBytes }),
    onWarning: warn,
  });

  let secret: Promise<Buffer> | undefined;
  const again = (error: unknown): never => {
    secret = undefined;
    throw error;
  };

  const runnerOf = (
    type: AnyStreamType,
    { name }: Context,
    foldable: ReturnType<typeof foldFirst>,
  ): AnyCommandRunner => {
    const { category, decider, events = {}, door } = type;
    const streams = new DecisionStreams({
      store,
      decider,
      category: category.name,
      upcasters: events.upcasters ?? {},
      room,
      onWarning: warn,
    });
    return new CommandRunner(type, streams, {
      stateAtEnd: ({ stream, id }) => running.runnerOf(stream).streams.stateAtEnd(id),
      claimSecret: () => (secret ??= claimSecret(keys).catch(again)),
      observe: onCommand && tell(onCommand, warnOfObserver),
      door: door?.((settings?.[name] ?? {}) as never),
      foldable,
    });
  };

  const run = (one: Context): RunningContext => {
    const part = new PartOfLog(store, one.categories);
    const foldable = foldFirst(one.projections);
    const writing = {
      store: part,
      pool: tables,
      connectionString: access.projector.url,
      log: { info, warn },
    };
    return {
      context: one,
      log: part,
      projector: new Projector({
        ...writing,
        name: one.name,
        projections: one.projections,
        followers: one.followers.map(({ name }) => name),
        followsBack: options.eventStore !== undefined,
      }),
      watch: new CheckpointWatch(queries, listener, part, {
        projector: one.name,
        names: one.projections.map(({ name }) => name),
      }),
      followers: one.followers.map(({ make }) => make({ ...writing, follows: one.name, listener })),
      runners: new Map(one.streams.map((type) => [type, runnerOf(type, one, foldable)])),
    };
  };

  const running = new RunningContexts(contexts.map(run), store, room);
  return running;
}
