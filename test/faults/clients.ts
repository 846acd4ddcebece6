import { setTimeout as sleep } from 'node:timers/promises';
import { call, type Call, type Reply } from './client.js';
import { now, type History, type Write } from './history.js';

/** The answers of a run: by status, or `no answer`. */
export type Answers = Record<string, number>;

export interface ClientOptions {
  readonly history: History;
  /** A server for this attempt; perhaps another one at the next. */
  readonly server: () => string;
  readonly random: () => number;
  /** Aborted when clients must stop trying: what has no answer by then is of unknown outcome. */
  readonly giveUp: AbortSignal;
  /** How often a client without an answer stops for good, like one that crashes. */
  readonly quits: number;
  readonly answers: Answers;
  /** Answers that no server must give: 500, a 503 without the time to come back, ... */
  readonly wrongAnswers: string[];
}

export interface Command extends Call {
  readonly name: string;
  readonly flightId: string;
  /** How many events it records. */
  readonly events: number;
  /** The refusal that the client expects, by its code. */
  readonly refusal?: string;
  readonly note?: Readonly<Record<string, unknown>>;
}

export interface Query extends Call {
  readonly name: string;
  readonly flightId: string;
  readonly key: string;
  /** The value of the row in the answer; null if it is missing. */
  readonly pick: (body: Reply['body']) => number | null;
  readonly minPosition?: string | undefined;
}

/**
 * A careful client, as the documentation requires: sends a command under one Idempotency-Key until it is acknowledged
 * or refused, with short waits in between.
 */
export class Client {
  constructor(
    readonly name: string,
    private readonly options: ClientOptions,
  ) {}

  /** Resolves when the outcome is known, or will stay unknown; also when its last attempt was sent. */
  async write(command: Command): Promise<Write & { readonly lastSent: number }> {
    const { history, giveUp, random, quits } = this.options;
    const { name, flightId, events } = command;
    const { id, invoked } = history.begin({ client: this.name, name, flightId, ...command.note });
    const commandId = `${this.name} ${id}`;
    const base = {
      kind: 'write',
      id,
      client: this.name,
      name,
      flightId,
      commandId,
      events,
      invoked,
    } as const;
    for (let attempts = 1; ; attempts++) {
      const lastSent = now();
      const reply = await this.#send({ ...command, headers: { 'idempotency-key': commandId } });
      const end = (rest: Pick<Write, 'outcome' | 'revision' | 'position' | 'surprise'>) => {
        const write = { ...base, ended: now(), attempts, lastSent, ...rest };
        history.end(write);
        return write;
      };
      if (reply && reply.status < 300) {
        const { revision, position } = reply.body as { revision: number; position: string };
        const header = reply.headers['waylog-position'];
        if (header !== position)
          this.options.wrongAnswers.push(
            `${name}: position ${position}, and in the header ${String(header)}`,
          );
        return end({ outcome: 'acknowledged', revision, position });
      }
      if (reply && isFinal(reply)) {
        const code = String((reply.body as { code?: unknown }).code);
        return end({
          outcome: 'refused',
          ...(code !== command.refusal && { surprise: `${reply.status} ${JSON.stringify(reply.body)}` }),
        });
      }
      if (giveUp.aborted || random() < quits) return end({ outcome: 'unknown' });
      await sleep(20 + random() * 130);
    }
  }

  /** One attempt; undefined if it got no answer that counts. */
  async read(query: Query): Promise<number | null | undefined> {
    const { history } = this.options;
    const { name, flightId, key, minPosition } = query;
    const { id, invoked } = history.begin({ client: this.name, name, flightId, key, minPosition });
    const reply = await this.ask(query, minPosition);
    if (!reply) return undefined;
    let value: number | null;
    try {
      value = reply.status === 404 ? null : query.pick(reply.body);
    } catch {
      this.options.wrongAnswers.push(
        `${query.method} ${query.path}: ${reply.status} ${JSON.stringify(reply.headers)} ${JSON.stringify(reply.body)}`,
      );
      return undefined;
    }
    history.end({
      ...{ kind: 'read', id, client: this.name, name, flightId, key, value, invoked },
      ...{ ended: now(), attempts: 1 },
      ...(minPosition !== undefined && { minPosition }),
    });
    return value;
  }

  /** A single query: its answer if it is a success, or 404. */
  async ask(query: Call, minPosition?: string): Promise<Reply | undefined> {
    const headers = minPosition === undefined ? {} : { 'waylog-min-position': minPosition };
    const reply = await this.#send({ ...query, headers });
    return reply && (reply.status < 300 || reply.status === 404) ? reply : undefined;
  }

  async #send(wanted: Call): Promise<Reply | undefined> {
    const { answers, wrongAnswers, server } = this.options;
    try {
      const reply = await call(server(), wanted);
      count(answers, String(reply.status));
      const said = `${wanted.method} ${wanted.path}: ${reply.status} ${JSON.stringify(reply.body)}`;
      if (reply.status >= 500 && reply.status !== 503) wrongAnswers.push(said);
      if (reply.status === 503 && reply.headers['retry-after'] === undefined)
        wrongAnswers.push(`${said} without Retry-After`);
      return reply;
    } catch {
      count(answers, 'no answer');
      return undefined;
    }
  }
}

/** Whether it is certain that nothing was, or will be, recorded. 503 and 429 ask for another attempt. */
const isFinal = ({ status, body }: Reply): boolean =>
  status >= 400 &&
  status < 500 &&
  status !== 429 &&
  // Other processes were faster, twenty times; nothing was recorded, and it can be sent again.
  (body as { code?: unknown }).code !== 'commands.contended';

function count(answers: Answers, what: string): void {
  answers[what] = (answers[what] ?? 0) + 1;
}
