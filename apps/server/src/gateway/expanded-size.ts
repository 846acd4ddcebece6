import { loadModule, parseSync } from 'libpg-query';
import { messageOf } from '#lib/platform';

/**
 * PostgreSQL copies parts of a statement before it runs it: the columns of a sub-select are copied to each place that
 * names them, the left side of BETWEEN and of IN is used in several comparisons. Nested copies multiply: a statement of
 * 400 characters can need gigabytes, in code that does not check for interrupts, and no setting limits it. So the size
 * that a statement can grow to is computed first, from the tree of PostgreSQL's own parser (libpg_query). It is an
 * upper bound: not everything that is counted as copied is.
 *
 * Measured on PostgreSQL 17, planning takes 30 to 330 bytes per node.
 */
export const MAX_EXPANDED_SIZE = 200_000;

/** A node of the tree under its name, or the fields of one. */
type Part = { readonly [name: string]: unknown };

/** The expanded size of a table, a sub-select or a join, in nodes. */
interface Size {
  readonly total: number;
  /** Its columns by name. Each is copied to every place that names it. */
  readonly names: ReadonlyMap<string, number>;
  /** The largest of its columns without a known name. */
  readonly others: number;
  /** All its columns together, which are copied to each place that names the whole row. */
  readonly row: number;
  readonly columns: number;
  /** How many sub-selects UNION ALL makes of it; each gets its own copy of the conditions on it. */
  readonly arms: number;
}

/** The assumed number of columns of a table, which the tree does not give. */
const COLUMNS_OF_A_TABLE = 50;
/** PostgreSQL refuses more in one SELECT. */
const MAX_COLUMNS = 1_664;

const NO_NAMES: ReadonlyMap<string, number> = new Map();
const TABLE: Size = { total: 0, names: NO_NAMES, others: 1, row: 1, columns: COLUMNS_OF_A_TABLE, arms: 1 };
const NOTHING: Size = { total: 0, names: NO_NAMES, others: 1, row: 1, columns: 0, arms: 1 };

/** The meaning of names at a place. */
interface Scope {
  readonly ctes: ReadonlyMap<string, () => Size>;
  /** Everything that can be named there, as if it were one table. */
  readonly named: Size;
  /** The names of tables and sub-selects there: such a name alone means a whole row. */
  readonly aliases: ReadonlySet<string>;
}

/** How often the parts of a BETWEEN occur in its expansion. */
const BETWEEN: Readonly<Record<string, number>> = {
  AEXPR_BETWEEN: 2,
  AEXPR_NOT_BETWEEN: 2,
  AEXPR_BETWEEN_SYM: 4,
  AEXPR_NOT_BETWEEN_SYM: 4,
};

/** Functions of one row: `q.to_json` is `to_json(q)`. */
const OF_A_ROW =
  /^(row_to_json|to_jsonb?|pg_typeof|pg_column_size|quote_(literal|nullable)|hash_record.*|record_.*|text|varchar|bpchar|name|num_n.*)$/;

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
 * The most nodes that PostgreSQL can make of a statement; Infinity if it is nested too deep to tell. Throws
 * `SyntaxFault` for a text that is not exactly one statement.
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
    return sizeOf(statements[0]?.['stmt'], { ctes: new Map(), named: NOTHING, aliases: new Set() });
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
        size += sizeOfName(inside, scope);
        break;
      case 'A_Expr':
        size += timesOf(inside) * sizeOf(inside, scope);
        break;
      case 'A_Indirection': {
        const value = sizeOf(inside, scope);
        size += (isWhole(inside) ? columnsOfValue(value, scope) : 1) * value;
        break;
      }
      case 'SubLink':
        // EXISTS is planned in two ways, one of which is chosen.
        size += (inside['subLinkType'] === 'EXISTS_SUBLINK' ? 2 : 1) * sizeOf(inside, scope);
        break;
      case 'JsonArrayQueryConstructor':
        // Its query is analysed once to count its columns, and once to run.
        size += 2 * sizeOf(inside, scope);
        break;
      default:
        size += sizeOf(inside, scope);
    }
  }
  return size;
}

/** How often the parts of an operation occur in its expansion. IN compares its left side with each item. */
function timesOf(operation: Part): number {
  const kind = String(operation['kind']);
  if (kind !== 'AEXPR_IN') return BETWEEN[kind] ?? 1;
  const items = (operation['rexpr'] as { List?: { items?: readonly unknown[] } } | undefined)?.List?.items;
  return Math.max(1, items?.length ?? 1);
}

/** `(value).*` has the value once for each of its columns: those of a row expression, or of a named row. */
const columnsOfValue = (size: number, { named }: Scope): number =>
  Math.max(COLUMNS_OF_A_TABLE, named.columns, Math.min(size, MAX_COLUMNS));

const isWhole = ({ indirection }: Part): boolean =>
  Array.isArray(indirection) && indirection.some((step) => isPart(step) && 'A_Star' in step);

function sizeOfName({ fields }: Part, { named, aliases }: Scope): number {
  const steps = fields as readonly Part[];
  const name = textOf(steps.at(-1));
  const isRow = name === undefined || (steps.length === 1 ? aliases.has(name) : OF_A_ROW.test(name));
  return isRow ? Math.max(named.row, named.columns) : (named.names.get(name) ?? named.others);
}

/** The last step of a name; undefined for `*`. */
const textOf = (step: Part | undefined): string | undefined =>
  (step?.['String'] as { sval?: string } | undefined)?.sval;

function sizeOfSelect(select: Part, outer: Scope): Size {
  const { larg, rarg, fromClause, targetList, withClause, ...rest } = select;
  const { ctes, totalOfCtes } = withCtes(withClause, outer);
  if (isPart(larg) && isPart(rarg)) {
    const inner = { ...outer, ctes };
    const left = sizeOfSelect(larg, inner);
    const right = sizeOfSelect(rarg, inner);
    return {
      total: left.total + right.total + sizeOf(rest, inner) + totalOfCtes(),
      // Columns are matched by position, and have the names of the first.
      names: NO_NAMES,
      others: Math.max(largest(left), largest(right)),
      row: Math.max(left.row, right.row),
      columns: Math.max(left.columns, right.columns),
      arms: left.arms + right.arms,
    };
  }
  const { size: from, scope } = sizeOfFrom(fromClause, { ...outer, ctes });
  const names = new Map<string, number>();
  let [others, row, columns, ofTargets] = [1, 0, 0, 0];
  for (const { ResTarget: target } of (targetList ?? []) as readonly { ResTarget: Part }[]) {
    const size = sizeOf(target, scope);
    ofTargets += size;
    row += size;
    if (isStar(target)) {
      for (const [name, ofName] of from.names) setLargest(names, name, ofName);
      others = Math.max(others, from.others);
      columns += Math.max(COLUMNS_OF_A_TABLE, from.columns);
    } else {
      const name = nameOf(target);
      if (name === undefined) others = Math.max(others, size);
      else setLargest(names, name, size);
      columns++;
    }
  }
  // VALUES has no targets; everything it has is in the rest.
  const rests = sizeOf(rest, scope);
  if ('valuesLists' in select) [others, row, columns] = [rests, rests, rests];
  return {
    total: from.total + from.arms * (ofTargets + rests) + totalOfCtes(),
    names,
    others,
    row: Math.max(1, row),
    columns: Math.min(columns, MAX_COLUMNS),
    arms: from.arms,
  };
}

const largest = ({ names, others }: Size): number => Math.max(others, ...names.values());

const setLargest = (names: Map<string, number>, name: string, size: number): unknown =>
  names.set(name, Math.max(size, names.get(name) ?? 0));

/** The last step of the name that a column consists of, if it is a name. */
const lastStep = ({ val }: Part): Part | undefined =>
  (val as { ColumnRef?: { fields: readonly Part[] } } | undefined)?.ColumnRef?.fields.at(-1);

/** `*`, `q.*` and `(value).*`: columns whose names only PostgreSQL knows. */
function isStar(target: Part): boolean {
  const last = lastStep(target);
  const { A_Indirection } = (target['val'] ?? {}) as { A_Indirection?: Part };
  return (last !== undefined && 'A_Star' in last) || (A_Indirection !== undefined && isWhole(A_Indirection));
}

/** The name of a column, if the tree alone determines it. */
const nameOf = (target: Part): string | undefined =>
  typeof target['name'] === 'string' ? target['name'] : textOf(lastStep(target));

/** A size whose columns have other names than their own. */
const renamed = (size: Size): Size => ({ ...size, names: NO_NAMES, others: largest(size) });

/** A size under an alias, which can name the columns, too. */
const underAlias = (size: Size, alias: unknown): Size =>
  isPart(alias) && 'colnames' in alias ? renamed(size) : size;

/** Everything after FROM, and what can be named beside it. */
function sizeOfFrom(items: unknown, outer: Scope): { readonly size: Size; readonly scope: Scope } {
  let size = NOTHING;
  let scope = outer;
  for (const item of (items ?? []) as readonly unknown[]) {
    // After LATERAL, and in a function, earlier items can be named.
    const next = sizeOfItem(item, scope);
    size = together(size, next.size);
    scope = beside(scope, next);
  }
  return { size, scope };
}

interface Item {
  readonly size: Size;
  readonly aliases: readonly string[];
}

const beside = (scope: Scope, { size, aliases }: Item): Scope => ({
  ...scope,
  named: together(scope.named, size),
  aliases: new Set([...scope.aliases, ...aliases]),
});

function sizeOfItem(part: unknown, scope: Scope): Item {
  const [[name, inside] = ['', undefined]] = isPart(part) ? Object.entries(part) : [];
  if (!isPart(inside)) return { size: NOTHING, aliases: [] };
  const alias = (inside['alias'] as { aliasname?: string } | undefined)?.aliasname;
  const aliases = alias === undefined ? [] : [alias];
  switch (name) {
    case 'RangeVar': {
      const relation = String(inside['relname']);
      const cte = inside['schemaname'] === undefined ? scope.ctes.get(relation)?.() : undefined;
      return {
        size: underAlias(cte ?? TABLE, inside['alias']),
        aliases: alias === undefined ? [relation] : aliases,
      };
    }
    case 'RangeSubselect': {
      const { SelectStmt = {} } = inside['subquery'] as { SelectStmt?: Part };
      return { size: underAlias(sizeOfSelect(SelectStmt, scope), inside['alias']), aliases };
    }
    case 'JoinExpr': {
      const left = sizeOfItem(inside['larg'], scope);
      const right = sizeOfItem(inside['rarg'], beside(scope, left));
      const both = together(left.size, right.size);
      const conditions = sizeOf(inside['quals'], beside(beside(scope, left), right));
      const joined = inside['jointype'] === 'JOIN_FULL' ? merged(left.size, right.size) : both;
      return {
        size: underAlias({ ...joined, total: both.total + both.arms * conditions }, inside['alias']),
        aliases: [...left.aliases, ...right.aliases, ...aliases],
      };
    }
    default:
      return { size: { ...TABLE, total: sizeOf(inside, scope) }, aliases };
  }
}

const together = (a: Size, b: Size, ofBoth: (a: number, b: number) => number = Math.max): Size => ({
  total: a.total + b.total,
  names: new Map(
    [...new Set([...a.names.keys(), ...b.names.keys()])].map((name) => [
      name,
      ofBoth(a.names.get(name) ?? a.others, b.names.get(name) ?? b.others),
    ]),
  ),
  others: ofBoth(a.others, b.others),
  row: a.row + b.row,
  columns: Math.min(a.columns + b.columns, MAX_COLUMNS),
  arms: a.arms * b.arms,
});

/** A column that USING or NATURAL makes of two is COALESCE of both, in a FULL JOIN. */
const merged = (a: Size, b: Size): Size => together(a, b, (left, right) => left + right + 1);

/**
 * The meaning of the names of a WITH. PostgreSQL computes once what is MATERIALIZED or names itself; everything else
 * can replace each of its names, also in a WITH RECURSIVE, where each can name those after it.
 */
function withCtes(
  withClause: unknown,
  outer: Scope,
): {
  readonly ctes: ReadonlyMap<string, () => Size>;
  /** Of those that are computed once, and of those not named so far. */
  readonly totalOfCtes: () => number;
} {
  if (!isPart(withClause)) return { ctes: outer.ctes, totalOfCtes: () => 0 };
  const isRecursive = withClause['recursive'] === true;
  const ctes = new Map(outer.ctes);
  const totals: (() => number)[] = [];
  for (const { CommonTableExpr: cte } of (withClause['ctes'] ?? []) as { CommonTableExpr: Part }[]) {
    const { SelectStmt = {} } = cte['ctequery'] as { SelectStmt?: Part };
    const seen = isRecursive ? ctes : new Map(ctes);
    let size: Size | undefined;
    let isUnderWay = false;
    let isOnce = cte['ctematerialized'] === 'CTEMaterializeAlways';
    let isNamed = false;
    const found = (): Size => {
      if (size) return size;
      isUnderWay = true;
      const own = sizeOfSelect(SelectStmt, { ...outer, ctes: seen });
      size = 'aliascolnames' in cte ? renamed(own) : own;
      isUnderWay = false;
      return size;
    };
    ctes.set(String(cte['ctename']), () => {
      if (isUnderWay) {
        isOnce = true;
        return TABLE;
      }
      isNamed = true;
      const { columns } = found();
      return isOnce ? { ...TABLE, columns } : found();
    });
    totals.push(() => {
      const { total } = found();
      return isOnce || !isNamed ? total : 0;
    });
  }
  return { ctes, totalOfCtes: () => totals.reduce((sum, total) => sum + total(), 0) };
}
