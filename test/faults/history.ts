import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { once } from 'node:events';
import { dirname } from 'node:path';

/**
 * What a client did and the result. Times are milliseconds of the one monotonic clock of the process that all clients
 * run in, so that "before" means before.
 */
interface Operation {
  readonly id: number;
  readonly client: string;
  readonly name: string;
  readonly flightId: string;
  readonly invoked: number;
  /** When the outcome was known. */
  readonly ended: number;
  readonly attempts: number;
}

/**
 * A command, sent under one id until it had a result:
 * - `acknowledged`: a success, with the last revision and position that it recorded
 * - `refused`: the server said that it records nothing
 * - `unknown`: no answer; it may have been recorded, or still be
 */
export interface Write extends Operation {
  readonly kind: 'write';
  readonly outcome: 'acknowledged' | 'refused' | 'unknown';
  readonly commandId: string;
  /** How many events it records when it is accepted. */
  readonly events: number;
  readonly revision?: number;
  readonly position?: string;
  /** It was refused, and should not have been by what the client knows. */
  readonly surprise?: string;
}

/** A row that was read; a read that failed is not kept. */
export interface Read extends Operation {
  readonly kind: 'read';
  /** Which row: its table, flight and key. */
  readonly key: string;
  /** The value that distinguishes the writes of a row; null if there was no row. */
  readonly value: number | null;
  /** How new the reader asked the answer to be. */
  readonly minPosition?: string;
}

export type Entry = Write | Read;

/** The clock of histories. */
export const now = (): number => performance.now();

/** Keeps the operations of a run in memory, and also in a file, line by line, as they begin and end. */
export class History {
  readonly entries: Entry[] = [];
  readonly #file: WriteStream;
  #ids = 0;

  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#file = createWriteStream(path);
  }

  /** Records that an operation begins; its id and its time. */
  begin(what: Readonly<Record<string, unknown>>): { readonly id: number; readonly invoked: number } {
    const begun = { id: ++this.#ids, invoked: now() };
    this.#write({ type: 'invoke', ...begun, ...what });
    return begun;
  }

  /** `ok`, `fail` or, if unknown, `info`. */
  end(entry: Entry): void {
    this.entries.push(entry);
    const unknown = entry.kind === 'write' && entry.outcome === 'unknown';
    const refused = entry.kind === 'write' && entry.outcome === 'refused';
    this.#write({ type: unknown ? 'info' : refused ? 'fail' : 'ok', ...entry });
  }

  /** Something other than an operation: a fault that begins or ends. */
  note(what: Readonly<Record<string, unknown>>): void {
    this.#write({ type: 'note', at: now(), ...what });
  }

  get writes(): Write[] {
    return this.entries.filter((entry) => entry.kind === 'write');
  }

  get reads(): Read[] {
    return this.entries.filter((entry) => entry.kind === 'read');
  }

  async close(): Promise<void> {
    this.#file.end();
    await once(this.#file, 'close');
  }

  #write(line: object): void {
    this.#file.write(`${JSON.stringify(line)}\n`);
  }
}
