import type { TableDefinition } from './projection.js';
import { quote } from './table-writer.js';

const CHUNK_INTERVAL = '7 days';

/** A text as a literal of SQL. */
const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

const listOf = (columns: readonly string[]): string => columns.map(quote).join(', ');

/**
 * The statements that make a declared table, in the schema of its context or in another one. Texts of the key are
 * compared byte by byte (`collate "C"`): ids have no order in any language, and an index over them outlives an upgrade
 * of the operating system.
 */
export function tableSql(table: TableDefinition, schema = table.schema): string[] {
  const { columns, key, nullable = [], checks = {}, fillfactor, timeColumn, erasable = [] } = table;
  const name = `${schema}.${table.name}`;
  const lines = Object.entries(columns).map(([column, type]) =>
    [
      quote(column),
      type,
      ...(type === 'text' && key.includes(column) ? ['collate "C"'] : []),
      ...(nullable.includes(column) ? [] : ['not null']),
      ...(checks[column] === undefined ? [] : [`check (${checks[column]})`]),
    ].join(' '),
  );
  return [
    `create table ${name} (\n  ${[...lines, `primary key (${listOf(key)})`].join(',\n  ')}\n)` +
      (fillfactor === undefined ? '' : ` with (fillfactor = ${fillfactor})`),
    ...(timeColumn === undefined
      ? []
      : [
          `select create_hypertable('${name}', by_range('${timeColumn}', interval '${table.chunkInterval ?? CHUNK_INTERVAL}'), ` +
            `create_default_indexes => false)`,
        ]),
    ...indexesSql(table, schema),
    ...erasable.map((column) => `alter table ${name} alter column ${quote(column)} set statistics 0`),
    ...(table.comment === undefined ? [] : [`comment on table ${name} is ${literal(table.comment)}`]),
  ];
}

/** The statements that make its indexes. */
export const indexesSql = ({ name, indexes = {} }: TableDefinition, schema: string): string[] =>
  Object.entries(indexes).map(
    ([index, columns]) => `create index ${index} on ${schema}.${name} (${columns.join(', ')})`,
  );
