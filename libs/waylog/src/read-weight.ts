/** The fields of a query as they were sent, not checked yet. */
export type SentFields = Readonly<Record<string, unknown>>;

/** What a read can cost: light ones never wait, and heavy ones of one caller wait for each other. */
export interface ReadWeight {
  /** 0 for a light read, 1 for a heavy one, 2 for one whose answer can be as large as any. */
  readonly of: (fields: SentFields) => number;
  /** It looks through everything there is, however short its answer: also the light ones of a caller take turns. */
  readonly isList?: true;
}

/** Reads of up to so many rows are light. */
const LIGHT_ROWS = 1_000;
/** An item of a page, with its free-form JSON, costs as much as so many rows. */
const ROWS_OF_ITEM = 10;
/** The limit of a page without one. */
const PAGE = 100;

/** The most rows that a read without a limit returns. */
export const ALL_ROWS = 100_000;

export const light: ReadWeight = { of: () => 0 };
export const heavy: ReadWeight = { of: () => 1 };
/** Two of the most that one caller has at a time. */
export const whole: ReadWeight = { of: () => 2 };
export const byRows = (rows: (fields: SentFields) => number): ReadWeight => ({
  of: (fields) => (rows(fields) <= LIGHT_ROWS ? 0 : 1),
});
/** Of lists over everything. */
export const byPage: ReadWeight = {
  ...byRows(({ limit }) => ROWS_OF_ITEM * numberOr(PAGE, limit)),
  isList: true,
};

/** What is no number is refused later. */
export const numberOr = (otherwise: number, value: unknown): number =>
  value == null ? otherwise : Number(value);
