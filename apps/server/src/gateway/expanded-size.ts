import { loadModule, parseSync } from 'libpg-query';
import { messageOf } from '#lib/platform';

/**
 * PostgreSQL copies parts of a statement before it runs it: the columns of a sub-select are copied to each place that
 * names them, the left side of BETWEEN is used twice. Nested copies multiply: a statement of 400 characters can need
 * gigabytes, in places where PostgreSQL does not check for interrupts, and no setting limits it. So the size that a
 * statement can grow to is computed here first, from the tree of PostgreSQL's own parser (libpg_query). The result is
 * never too small: not everything that is counted as copied is.
 */
export const MAX_EXPANDED_SIZE = 200_000;

/** A part of the tree: a node under its name, or the content of one. */
type Part = { readonly [name: string]: unknown };

/** The expanded size of something, in nodes. */
interface Size {
  readonly total: number;
  /** The largest column that it provides. */
  readonly column: number;
  /** How many sub-selects UNION ALL makes of it, each of which gets the conditions on it. */
  readonly arms: number;
}

const TABLE: Size = { total: 0, column: 1, arms: 1 };

/** The meaning of names at a place. */
interface Scope {
  readonly ctes: ReadonlyMap<string, Size>;
  /** The expanded size of the largest thing that can be named there. */
  readonly column: number;
  /** The number of WITHs around it. */
  readonly withs: number;
}

/** How often the left side and the bounds of a BETWEEN occur in its expansion. */
const BETWEEN: Readonly<Record<string, number>> = {
  AEXPR_BETWEEN: 2,
  AEXPR_NOT_BETWEEN: 2,
  AEXPR_BETWEEN_SYM: 4,
  AEXPR_NOT_BETWEEN_SYM: 4,
};

/** `(value).*` has the value once for each of its columns; few have more than this. */
const COLUMNS_OF_A_VALUE = 50;

/** The deepest nesting; more is refused. */
const MAX_WITHS = 16;

let loading: Promise<void> | undefined;

/** Prepares `expandedSize`. */
export const loadParser = (): Promise<void> => (loading ??= loadModule());

/** An error of the parser, as PostgreSQL would say it. */
export class SyntaxFault extends Error {
  constructor(
    message: string,
    /** The position of the character, from 1; undefined if the error has none. */
    readonly position?: number,
  ) {
    super(message);
  }
}

/**
 * How many nodes PostgreSQL can make of a statement; Infinity if it is nested too deep to tell. Throws `SyntaxFault`
 * for a text that is not exactly one statement.
 */
export function expandedSize(sql: string): number {
  let statements: readonly Part[];
  try {
    statements = (parseSync(sql) as { stmts?: Part[] }).stmts ?? [];
  } catch (error) {
    // The stack of this process, or that of the parser.
    if (isTooDeep(error)) return Infinity;
    const { cursorPosition = -1 } = (error as { sqlDetails?: { cursorPosition?: number } }).sqlDetails ?? {};
    throw new SyntaxFault(messageOf(error), cursorPosition < 0 ? undefined : cursorPosition + 1);
  }
  if (statements.length !== 1) throw new SyntaxFault('it must be one statement, and not multiple commands');
  try {
    return sizeOf(statements[0]?.['stmt'], { ctes: new Map(), column: 1, withs: 0 });
  } catch (error) {
    if (isTooDeep(error)) return Infinity;
    throw error;
  }
}

const isTooDeep = (error: unknown): boolean =>
  error instanceof RangeError || /stack|memory access out of bounds|unreachable/i.test(String(error));

const isPart = (value: unknown): value is Part => typeof value === 'object' && value !== null;

/**
 * The expanded size of an expression, or of anything except a SELECT. One frame per level: a sum of a thousand terms is
 * as deep.
 */
function sizeOf(part: unknown, scope: Scope): number {
  if (!isPart(part)) return 0;
  let size = Array.isArray(part) ? 0 : 1;
  for (const name in part) {
    const inside = part[name];
    if (!isPart(inside)) continue;
    switch (name) {
      case 'SelectStmt':
        size += sizeOfSelect(inside, scope).total;
        break;
      case 'ColumnRef':
        size += scope.column;
        break;
      case 'A_Expr':
        size += (BETWEEN[String(inside['kind'])] ?? 1) * sizeOf(inside, scope);
        break;
      case 'A_Indirection':
        size += (isWhole(inside) ? COLUMNS_OF_A_VALUE : 1) * sizeOf(inside, scope);
        break;
      default:
        size += sizeOf(inside, scope);
    }
  }
  return size;
}

const isWhole = ({ indirection }: Part): boolean =>
  Array.isArray(indirection) && indirection.some((step) => isPart(step) && 'A_Star' in step);

function sizeOfSelect(select: Part, outer: Scope): Size {
  const { larg, rarg, fromClause, targetList, whereClause, withClause: _, ...rest } = select;
  const { ctes, total: ofCtes } = withCtes(select, outer);
  if (isPart(larg) && isPart(rarg)) {
    const inner = { ...outer, ctes };
    const left = sizeOfSelect(larg, inner);
    const right = sizeOfSelect(rarg, inner);
    return {
      total: ofCtes + left.total + right.total + sizeOf(rest, inner),
      column: Math.max(left.column, right.column),
      arms: left.arms + right.arms,
    };
  }
  const from = sizeOfFrom(fromClause, { ...outer, ctes });
  const scope: Scope = { ...outer, ctes, column: Math.max(outer.column, from.column) };
  // VALUES has no targets; everything it has is in the rest.
  const others = sizeOf(rest, scope);
  let [total, column] = [ofCtes + from.total + others, 'valuesLists' in select ? others : 1];
  for (const target of (targetList ?? []) as unknown[]) {
    const size = sizeOf(target, scope);
    total += size;
    column = Math.max(column, size);
  }
  return { total: total + from.arms * sizeOf(whereClause, scope), column, arms: from.arms };
}

/** Everything after FROM. Conditions of joins go to every arm, too. */
function sizeOfFrom(part: unknown, scope: Scope): Size {
  if (Array.isArray(part)) {
    return part.reduce<Size>((all, item) => together(all, sizeOfFrom(item, scope)), TABLE);
  }
  if (!isPart(part)) return TABLE;
  const [[name, inside] = ['', undefined]] = Object.entries(part);
  if (!isPart(inside)) return TABLE;
  switch (name) {
    case 'RangeVar': {
      const cte = inside['schemaname'] === undefined ? scope.ctes.get(String(inside['relname'])) : undefined;
      return cte ?? TABLE;
    }
    case 'RangeSubselect':
      return sizeOfSelect((inside['subquery'] as { SelectStmt?: Part }).SelectStmt ?? {}, scope);
    case 'JoinExpr': {
      const [left, right] = [sizeOfFrom(inside['larg'], scope), sizeOfFrom(inside['rarg'], scope)];
      const items = together(left, right);
      const column = Math.max(scope.column, items.column);
      const conditions = sizeOf(inside['quals'], { ...scope, column });
      return {
        total: items.total + items.arms * conditions,
        // A column that USING or NATURAL makes of two is COALESCE of both.
        column: inside['jointype'] === 'JOIN_FULL' ? left.column + right.column + 1 : items.column,
        arms: items.arms,
      };
    }
    default:
      return { ...TABLE, total: sizeOf(inside, scope) };
  }
}

const together = (a: Size, b: Size): Size => ({
  total: a.total + b.total,
  column: Math.max(a.column, b.column),
  arms: a.arms * b.arms,
});

/**
 * The meaning of the names of a WITH. Those that are named once, or are NOT MATERIALIZED, replace each name; the others
 * are computed once and count once.
 */
function withCtes(
  select: Part,
  outer: Scope,
): { readonly ctes: ReadonlyMap<string, Size>; readonly total: number } {
  const clause = select['withClause'] as { ctes?: readonly Part[]; recursive?: boolean } | undefined;
  if (!clause) return { ctes: outer.ctes, total: 0 };
  // What is named is counted once for each, from there on down.
  if (outer.withs >= MAX_WITHS) return { ctes: outer.ctes, total: Infinity };
  const inner = { ...outer, withs: outer.withs + 1 };
  const named = namesIn(select);
  const ctes = new Map(outer.ctes);
  let total = 0;
  for (const { CommonTableExpr: cte } of (clause.ctes ?? []) as { CommonTableExpr: Part }[]) {
    const name = String(cte['ctename']);
    if (clause.recursive) ctes.set(name, TABLE);
    const { SelectStmt = {} } = cte['ctequery'] as { SelectStmt?: Part };
    const size = sizeOfSelect(SelectStmt, { ...inner, ctes });
    const materialized = cte['ctematerialized'];
    const isInPlace =
      !clause.recursive &&
      (materialized === 'CTEMaterializeNever' ||
        (materialized !== 'CTEMaterializeAlways' && (named.get(name) ?? 0) <= 1));
    ctes.set(name, isInPlace ? size : TABLE);
    if (!isInPlace) total += size.total;
  }
  return { ctes, total };
}

/** How often each table, or what looks like one, is named. */
function namesIn(part: unknown, names = new Map<string, number>()): Map<string, number> {
  if (!isPart(part)) return names;
  for (const name in part) {
    const inside = part[name];
    if (name === 'relname') names.set(String(inside), (names.get(String(inside)) ?? 0) + 1);
    else if (isPart(inside)) namesIn(inside, names);
  }
  return names;
}
