import { Inject, Injectable } from '@nestjs/common';
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import {
  Background,
  backoffDelay,
  installation,
  Listener,
  messageOf,
  pause,
  unavailable,
  Waker,
} from '#lib/platform';
import { PartOfLog, type EventStore, type ReadableLog, type RecordedEvent } from '#lib/event-store';
import { Trouble } from '#lib/projections';
import { Acting, Hopeless, takePlaceAnew, type DeclaredReactor } from '#lib/reactors';
import type { DatabaseAccess } from '#lib/timescale';
import {
  activeWebhooks,
  addWebhook,
  bodyOf,
  Deliverer,
  endWebhook,
  heardCategories,
  hears,
  listWebhooks,
  Networks,
  rotateWebhook,
  webhookNamed,
  WEBHOOKS_CHANGED,
  type ActiveWebhook,
  type CreatedWebhook,
  type NewWebhook,
  type Webhook,
} from '#lib/webhooks';
import { WEBHOOK, type Context } from './context.js';
import { RunningContexts } from './running-contexts.js';
import { sayings } from './sayings.js';
import { DATABASE_ACCESS, EVENT_STORE, LOG_POOL, TABLES_POOL } from './tokens.js';

/** The networks beside the public internet that webhooks may reach, for injection. */
export const WEBHOOK_NETWORKS = Symbol('waylog webhook networks');

/** With the waits between them: about eight hours. */
const ATTEMPTS = 20;
const MAX_WAIT_SECONDS = 3_600;

/** The most events that a receiver gets again after a kill, for each stream at a time. */
const BATCH = 50;

/** A change is announced; this is for announcements that were lost. */
const LOOK_MS = 5_000;
const MAX_BACKOFF_MS = 5_000;

/** How long the request under way may go on when the process stops, or another one leads. */
const GRACE_MS = 2_000;

const GONE = 410;

/** The reactor of a webhook, as any process knows it. */
export const declaredWebhook = (
  { name, number, events }: Webhook,
  contexts: readonly Context[],
  store: ReadableLog,
): DeclaredReactor & { readonly hears: ReadableLog } => ({
  name: reactorOf(name),
  version: number,
  hears: new PartOfLog(
    store,
    heardCategories(
      events,
      contexts.flatMap(({ categories }) => categories),
    ),
  ),
});

const reactorOf = (webhook: string): string => `${WEBHOOK}${webhook}`;

/** The webhooks of this application: each is a reactor that sends what it hears. For injection. */
@Injectable()
export class Webhooks {
  readonly #log = sayings();
  readonly #deliverer: Deliverer;
  readonly #allowed: Networks;
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #trouble = new Trouble('Reading which webhooks there are', this.#log);
  /** By their numbers. */
  readonly #running = new Map<number, { webhook: ActiveWebhook; readonly acting: Acting }>();

  constructor(
    @Inject(WEBHOOK_NETWORKS) networks: readonly string[],
    private readonly contexts: RunningContexts,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(LOG_POOL) private readonly pool: pg.Pool,
    @Inject(TABLES_POOL) private readonly tables: pg.Pool,
    private readonly listener: Listener,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
  ) {
    this.#allowed = new Networks(networks);
    this.#deliverer = new Deliverer({
      allowed: this.#allowed,
      userAgent: `Waylog/${installation().version}`,
    });
  }

  list(): Promise<Webhook[]> {
    return listWebhooks(this.pool);
  }

  /** The reactors of all. */
  async declared(): Promise<DeclaredReactor[]> {
    return (await this.list()).map((one) => declaredWebhook(one, this.contexts.declared, this.store));
  }

  /** Adds one, which hears what is recorded from now on. Throws `input.invalid`, `webhook.exists` and `webhook.too-many`. */
  add(request: NewWebhook, by: string): Promise<CreatedWebhook> {
    const streams = this.contexts.declared.flatMap((context) => context.streams);
    return addWebhook(this.pool, request, {
      by,
      known: new Set(
        streams.flatMap(({ category, eventTypes }) => [
          category.name,
          ...[...eventTypes].map((type) => `${category.name}.${type}`),
        ]),
      ),
      allowed: this.#allowed,
      head: () => this.store.head(),
      takePlace: (name, version, position) =>
        takePlaceAnew(this.tables, { name: reactorOf(name), version, position }),
    });
  }

  /** Ends one: no process begins to send any more within seconds. Throws `webhook.not-found`. */
  remove(name: string, by: string): Promise<Webhook> {
    return endWebhook(this.pool, name, by);
  }

  /** Gives it a new key; the one before signs as well for a day. Throws `webhook.not-found`. */
  rotate(name: string): Promise<CreatedWebhook> {
    return rotateWebhook(this.pool, name);
  }

  /** Sends a message of the type `waylog.test` from this process, once. Throws `webhook.not-found`. */
  async test(name: string): Promise<{ readonly status?: number; readonly error?: string }> {
    const webhook = await webhookNamed(this.pool, name);
    const content = { type: 'waylog.test', timestamp: new Date().toISOString(), data: { webhook: name } };
    try {
      const signal = new AbortController().signal;
      return { status: await this.#deliverer.deliver(webhook, `test-${uuidv7()}`, content, signal) };
    } catch (error) {
      return { error: messageOf(error) };
    }
  }

  start(): void {
    this.#background.start();
  }

  async stop(): Promise<void> {
    await this.#background.stop();
    await Promise.all([...this.#running.values()].map(({ acting }) => acting.stop()));
    this.#running.clear();
    this.#deliverer.close();
  }

  /** Starts those that are new, and stops those that have ended. */
  async #run(signal: AbortSignal): Promise<void> {
    const waker = new Waker(this.listener, WEBHOOKS_CHANGED, LOOK_MS, signal);
    try {
      while (!signal.aborted) {
        waker.arm();
        try {
          await this.#follow(await activeWebhooks(this.pool));
          this.#trouble.succeeded();
        } catch (error) {
          this.#trouble.failed(error);
          await pause(backoffDelay(this.#trouble.failures, 100, MAX_BACKOFF_MS), signal);
          continue;
        }
        await waker.wait();
      }
    } finally {
      waker.close();
      this.#trouble.end();
    }
  }

  async #follow(active: readonly ActiveWebhook[]): Promise<void> {
    const ended = [...this.#running.entries()].filter(
      ([number]) => !active.some((one) => one.number === number),
    );
    // Together: each may wait for a receiver.
    await Promise.all(
      ended.map(async ([number, { webhook, acting }]) => {
        this.#running.delete(number);
        await acting.stop();
        this.#log.info(`The webhook ${webhook.name} has ended.`);
      }),
    );
    for (const webhook of active) {
      const running = this.#running.get(webhook.number);
      // Its keys can be new.
      if (running) running.webhook = webhook;
      else {
        const acting = this.#acting(webhook);
        this.#running.set(webhook.number, { webhook, acting });
        acting.start();
      }
    }
  }

  #acting(webhook: ActiveWebhook): Acting {
    const { name, version, hears: store } = declaredWebhook(webhook, this.contexts.declared, this.store);
    return new Acting({
      name,
      version,
      store,
      concerns: (event) => hears(webhook.events, event),
      act: (event, signal) => this.#send(webhook.number, event, signal),
      waitsAsAWhole: true,
      attempts: ATTEMPTS,
      maxWaitSeconds: MAX_WAIT_SECONDS,
      batchSize: BATCH,
      pool: this.tables,
      connectionString: this.access.projector.url,
      log: this.#log,
    });
  }

  async #send(number: number, event: RecordedEvent, signal: AbortSignal): Promise<void> {
    const webhook = this.#running.get(number)?.webhook;
    if (!webhook) throw unavailable('webhook.ended', 'The webhook has ended.');
    const content = bodyOf(event, {
      vocabulary: this.contexts.vocabulary,
      withSensitive: webhook.withSensitiveFields,
    });
    const stop = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const soon = () => (timer = setTimeout(() => stop.abort(), GRACE_MS));
    signal.addEventListener('abort', soon, { once: true });
    try {
      const status = await this.#deliverer.deliver(webhook, event.id, content, stop.signal);
      if (status === GONE)
        throw new Hopeless(`It answered ${GONE}: it wants no more. End it with \`waylog webhooks remove\`.`);
      if (status < 200 || status > 299) throw new Error(`It answered ${status}.`);
    } finally {
      signal.removeEventListener('abort', soon);
      clearTimeout(timer);
    }
  }
}
