import { hostname } from 'node:os';
import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { IsBoolean, IsIn, IsInt, IsNumber, IsString, Max, Min } from 'class-validator';
import { Example, IsTimestamp, messageOf, Optional, retry, type Config, type Timestamp } from '#lib/platform';
import { CONFIG } from '../config.js';
import { alertRules, type AlertRule, type Severity } from './alert-rules.js';
import { Observer, type Observation } from './observation.js';
import { Statistics } from './statistics.js';

const STATES = ['firing', 'ok', 'unknown'] as const;

/** A rule and its state. */
export class Alert {
  @IsString() readonly name!: string;
  @IsIn(['critical', 'warning']) readonly severity!: Severity;
  /** `unknown`: its value cannot be determined now, or from here. */
  @IsIn(STATES) readonly state!: (typeof STATES)[number];
  /** Since when it has been in this state. */
  @IsTimestamp() readonly since!: Timestamp;
  @Optional() @IsNumber() readonly value?: number;
  /** It fires if the value is above. */
  @IsNumber() readonly threshold!: number;
  @IsString() readonly what!: string;
  @IsString() readonly remedy!: string;
}

/** The message to the webhook when alerts start or stop firing. */
export interface AlertMessage {
  /** Host and process: every server checks for itself. */
  readonly server: string;
  readonly at: Timestamp;
  readonly alerts: readonly Alert[];
}

/** The checks that an administrator requests. Omitted fields stay as they are. */
@Example<MonitoringChange>({ running: true, intervalSeconds: 10 })
export class MonitoringChange {
  @Optional() @IsBoolean() readonly running?: boolean | null;
  /** Seconds between two checks. */
  @Optional() @IsInt() @Min(1) @Max(3_600) readonly intervalSeconds?: number | null;
}

/** Whether this process checks the rules by schedule, and how often. */
export class Monitoring {
  @IsBoolean() readonly running!: boolean;
  @IsInt() readonly intervalSeconds!: number;
  /** Who changed it, and when; absent if it is as configured. */
  @Optional() @IsString() readonly changedBy?: string;
  @Optional() @IsTimestamp() readonly changedAt?: Timestamp;
}

/** The state of a rule after another check; the same object if only the value has changed. */
export function stateOf(
  rule: AlertRule,
  before: Alert | undefined,
  observation: Observation,
  statistics: Statistics,
): Alert {
  const value = rule.value(observation, statistics);
  const state = value === undefined ? 'unknown' : value > rule.threshold ? 'firing' : 'ok';
  return {
    name: rule.name,
    severity: rule.severity,
    state,
    since: before?.state === state ? before.since : new Date(observation.at).toISOString(),
    ...(value !== undefined && { value }),
    threshold: rule.threshold,
    what: rule.what,
    remedy: typeof rule.remedy === 'string' ? rule.remedy : rule.remedy(statistics, observation),
  };
}

/** Checks the rules every few seconds, logs which alerts start and stop firing, and calls a webhook. */
@Injectable()
export class Alerts implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #log = new Logger('Alerts');
  readonly #stop = new AbortController();
  #alerts = new Map<string, Alert>();
  #timer: NodeJS.Timeout | undefined;
  /** Messages are sent one after another, so that the latest arrives last. */
  #sending: Promise<void> = Promise.resolve();
  failedMessages = 0;
  #monitoring: Monitoring;

  constructor(
    private readonly observer: Observer,
    private readonly statistics: Statistics,
    @Inject(CONFIG) private readonly config: Config,
  ) {
    this.#monitoring = { running: true, intervalSeconds: config.alertIntervalMs / 1_000 };
  }

  onApplicationBootstrap(): void {
    this.#pace();
  }

  get monitoring(): Monitoring {
    return this.#monitoring;
  }

  /** Starts, stops or paces the checks of this process, until it ends: the next process uses its configuration. */
  change({ running, intervalSeconds }: MonitoringChange, by: string): Monitoring {
    const before = this.#monitoring;
    this.#monitoring = {
      running: running ?? before.running,
      intervalSeconds: intervalSeconds ?? before.intervalSeconds,
      changedBy: by,
      changedAt: new Date().toISOString(),
    };
    this.#pace();
    const now = this.#monitoring;
    if (now.running) this.#log.log(`${by} has alert rules looked at every ${now.intervalSeconds} s.`);
    else
      this.#log.warn(
        `${by} has stopped the looks at alert rules: this process logs no alerts and tells no webhook, until somebody starts ` +
          `them again or the process does.`,
      );
    return now;
  }

  #pace(): void {
    clearInterval(this.#timer);
    const { running, intervalSeconds } = this.#monitoring;
    if (!running || this.#stop.signal.aborted) return;
    const look = () =>
      void this.evaluate().catch((error: unknown) =>
        this.#log.error(`Alerts cannot be evaluated: ${messageOf(error)}`),
      );
    this.#timer = setInterval(look, intervalSeconds * 1_000);
  }

  async onApplicationShutdown(): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#timer);
    await this.#sending;
  }

  /** All rules; those that fire first. */
  async list(): Promise<Alert[]> {
    if (this.#alerts.size === 0) await this.evaluate();
    const order = { firing: 0, unknown: 1, ok: 2 };
    return [...this.#alerts.values()].sort((a, b) => order[a.state] - order[b.state]);
  }

  async evaluate(): Promise<void> {
    const observation = await this.observer.observe();
    const changed: Alert[] = [];
    for (const rule of alertRules) {
      const before = this.#alerts.get(rule.name);
      const now = stateOf(rule, before, observation, this.statistics);
      this.#alerts.set(rule.name, now);
      const isNews = (before?.state === 'firing') !== (now.state === 'firing');
      if (!isNews) continue;
      changed.push(now);
      const said = `${now.name}: ${now.what} is ${now.value?.toFixed(2) ?? 'unknown'}, the threshold ${now.threshold}.`;
      if (now.state === 'firing') this.#log.warn(`${said} ${now.remedy}`);
      else this.#log.log(`${said} No longer firing.`);
    }
    if (changed.length > 0) this.#send(changed, observation.at);
  }

  #send(alerts: readonly Alert[], at: number): void {
    const { alertWebhook } = this.config;
    if (!alertWebhook) return;
    const message: AlertMessage = {
      server: `${hostname()} process ${process.pid}`,
      at: new Date(at).toISOString(),
      alerts,
    };
    this.#sending = this.#sending.then(() =>
      retry(() => post(alertWebhook, message, this.#stop.signal), {
        attempts: 5,
        baseDelayMs: 500,
        maxDelayMs: 10_000,
        retryIf: () => !this.#stop.signal.aborted,
        signal: this.#stop.signal,
      }).catch((error: unknown) => {
        this.failedMessages++;
        this.#log.warn(`The alert webhook did not take a message: ${messageOf(error)}`);
      }),
    );
  }
}

async function post(url: string, message: AlertMessage, stop: AbortSignal): Promise<void> {
  const { address, authorization } = withCredentialsApart(url);
  const response = await fetch(address, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
    body: JSON.stringify(message),
    // The operator has named this address and no other.
    redirect: 'manual',
    signal: AbortSignal.any([stop, AbortSignal.timeout(5_000)]),
  });
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}

/** `fetch` accepts no credentials in an address, and its error, which is logged, would show them. */
function withCredentialsApart(text: string): { readonly address: string; readonly authorization?: string } {
  const url = new URL(text);
  if (!url.username && !url.password) return { address: text };
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  url.username = url.password = '';
  return { address: url.href, authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}
