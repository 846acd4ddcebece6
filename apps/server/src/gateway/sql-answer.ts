import type pg from 'pg';
import { invalidInput, MAX_ANSWER_BYTES, timestampFromPostgres } from '#lib/platform';

/** How many values are made into text before other work runs: some milliseconds' worth. */
const CELLS_A_TURN = 20_000;
/** How many rows are fetched before their number of columns is known. */
const FIRST_ROWS = 10;

/** JSON as the bytes that are sent, and how many rows it holds. */
export interface JsonAnswer {
  readonly json: Buffer;
  readonly rowCount: number;
}

type Column = Pick<pg.FieldDef, 'name' | 'dataTypeID'>;
type Cell = string | null;

/**
 * The answer of a statement, made into JSON text piece by piece, from PostgreSQL's text of each value. Nothing is
 * parsed on the way: a column of JSON is JSON already, and parsing a few megabytes of it would hold the process for a
 * second and use a hundred times their length.
 */
export class SqlAnswer {
  readonly #maxRows: number;
  readonly #pieces: string[] = [];
  #columns: readonly Column[] = [];
  #write: readonly ((cell: string) => string)[] = [];
  #names: readonly string[] = [];
  #rows = 0;
  #length = 0;
  #isTruncated = false;

  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  /** How many rows to fetch next; one more than is answered, to know whether there are more. 0 if there is enough. */
  get wanted(): number {
    if (this.#isTruncated) return 0;
    const left = this.#maxRows + 1 - this.#rows;
    if (this.#columns.length === 0) return Math.min(left, FIRST_ROWS);
    return Math.min(left, Math.max(1, Math.floor(CELLS_A_TURN / this.#columns.length)));
  }

  /** Adds what was fetched. Throws `sql.invalid` and `sql.answer-too-large`. */
  add(columns: readonly Column[], rows: readonly (readonly Cell[])[]): void {
    if (this.#names.length === 0) this.#begin(columns);
    for (const row of rows) {
      if (this.#rows === this.#maxRows) {
        this.#isTruncated = true;
        return;
      }
      const cells = row.map(
        (cell, i) => `${this.#names[i] ?? ''}${cell === null ? 'null' : (this.#write[i]?.(cell) ?? '')}`,
      );
      const piece = `{${cells.join()}}`;
      this.#length += piece.length;
      if (this.#length > MAX_ANSWER_BYTES) throw tooLarge(MAX_ANSWER_BYTES, 'as JSON');
      this.#pieces.push(piece);
      this.#rows++;
    }
  }

  /** `columns`, `rows`, and `truncated` if there were more rows. */
  end(): JsonAnswer {
    const columns = this.#columns.map(({ name, dataTypeID }) => ({ name, typeOid: dataTypeID }));
    return {
      json: Buffer.from(
        `{"columns":${JSON.stringify(columns)},"rows":[${this.#pieces.join()}],"truncated":${this.#isTruncated}}`,
      ),
      rowCount: this.#rows,
    };
  }

  #begin(columns: readonly Column[]): void {
    const names = columns.map(({ name }) => name);
    const known = new Set<string>();
    for (const name of names) {
      if (known.has(name)) {
        throw invalidInput(
          [{ field: 'query', message: `has two columns called ${name}; name them apart with "as"` }],
          'sql.invalid',
        );
      }
      known.add(name);
    }
    this.#columns = columns;
    this.#names = names.map((name) => `${JSON.stringify(name)}:`);
    this.#write = columns.map(({ dataTypeID }) => writers[dataTypeID] ?? asText);
  }
}

const asText = (cell: string): string => JSON.stringify(cell);
/** NaN and the infinities are not JSON, so they stay text. */
const asNumber = (cell: string): string => (/^-?\d/.test(cell) ? cell : asText(cell));
const asIs = (cell: string): string => cell;
const asFlag = (cell: string): string => (cell === 't' ? 'true' : 'false');
const asTime = (cell: string): string =>
  asText(/^\d{4}-/.test(cell) && !cell.endsWith('BC') ? timestampFromPostgres(cell) : cell);

/**
 * By the oid of the type: what JSON can represent exactly becomes a number, a flag or JSON, times become RFC 3339; the
 * rest stays PostgreSQL's text.
 */
const writers: Readonly<Record<number, (cell: string) => string>> = {
  /* bool */ 16: asFlag,
  /* int2 */ 21: asNumber,
  /* int4 */ 23: asNumber,
  /* oid */ 26: asNumber,
  /* float4 */ 700: asNumber,
  /* float8 */ 701: asNumber,
  /* json */ 114: asIs,
  /* timestamptz */ 1184: asTime,
  /* jsonb */ 3802: asIs,
};

export const tooLarge = (bytes: number, how: string) =>
  invalidInput(
    [
      {
        field: 'query',
        message: `answers with more than ${bytes / 1024 / 1024} MiB ${how}. Select fewer columns or rows, or aggregate in the database`,
      },
    ],
    'sql.answer-too-large',
  );
