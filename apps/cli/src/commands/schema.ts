import { Command } from 'commander';
import {
  discovery,
  queryOn,
  registeredModels,
  removeModel,
  VALIDATION_LEVELS,
  type ModelInfo,
} from '#lib/timescale';
import { validateSchema, withWaylogModels } from '../../../../migrations/index.js';
import { print, UsageError, withDatabase } from '../context.js';
import { isLevel } from './migrate.js';
import { contexts } from '../../../contexts.js';
import { tableSql } from '#lib/projections';
import { modelsOf } from '#lib/waylog';

export function schemaCommand(): Command {
  const schema = new Command('schema').description(
    'The schema of the database: check it, list models, take a registered one back.',
  );
  schema
    .command('check')
    .description(
      'compare the database with what the migrations make and what the models say; changes nothing',
    )
    .option('--level <level>', `basic fails on errors, strict on warnings too`, 'basic')
    .addHelpText(
      'after',
      `
error    Waylog does not work as it should: a missing table or column, another type, a changed function
warning  it works, but worse or differently: a missing index or check, a table that nobody makes
info     worth knowing

Exit codes: 0 nothing that the level fails on, 3 something.`,
    )
    .action(async ({ level }: { level: string }, command: Command) => {
      if (!isLevel(level)) throw new UsageError(`--level takes one of ${VALIDATION_LEVELS.join(', ')}.`);
      const result = await withDatabase(command, ({ pool }) =>
        validateSchema(queryOn(pool), level, withWaylogModels(modelsOf(contexts))),
      );
      const lines = result.issues.map(
        ({ severity, category, location, description, suggestion }) =>
          `${severity.padEnd(7)}  ${category}  ${location}\n         ${description}${suggestion ? `\n         ${suggestion}` : ''}`,
      );
      const end =
        result.issues.length === 0 ? 'the schema is what it should be' : `${result.issues.length} issues`;
      print(command, result, [...lines, end].join('\n'));
      if (!result.isValid) process.exitCode = 3;
    });
  schema
    .command('show')
    .description('print the statements that make the tables of the contexts, as they are declared')
    .argument('[tables...]', 'such as flight.waypoints; without it all of them')
    .action((wanted: string[], _options, command: Command) => {
      const all = contexts.flatMap(({ projections }) => projections.map(({ table }) => table));
      const names = all.map(({ schema: of, name }) => `${of}.${name}`);
      const unknown = wanted.filter((name) => !names.includes(name));
      if (unknown.length > 0)
        throw new UsageError(`There is no table ${unknown.join(', ')}. There are ${names.join(', ')}.`);
      const tables = all
        .map((table, i) => ({ table: names[i] ?? '', statements: tableSql(table) }))
        .filter(({ table }) => wanted.length === 0 || wanted.includes(table));
      const text = tables.map(({ statements }) => statements.map((sql) => `${sql};`).join('\n'));
      print(command, { tables }, text.join('\n\n'));
    });
  schema
    .command('models')
    .description('list the tables of every service: those of the code, and those that were registered')
    .action(async (_options, command: Command) => {
      const registered = await withDatabase(command, ({ pool }) => registeredModels(queryOn(pool)));
      const services = discovery([...withWaylogModels(modelsOf(contexts)), ...registered]);
      const text = services.flatMap(({ serviceName, models }) => [serviceName, ...models.map(lineOf)]);
      print(command, { services }, text.join('\n'));
    });
  schema
    .command('remove-model')
    .description('take a registered model back; its table stays, with all that is in it')
    .argument('<service>', 'the service that has registered it')
    .argument('<model>', 'its name, as `waylog schema models --json` shows it')
    .action(async (service: string, model: string, _options, command: Command) => {
      await withDatabase(command, ({ pool }) =>
        removeModel(pool, service, model, withWaylogModels(modelsOf(contexts))),
      );
      print(
        command,
        { serviceName: service, name: model },
        `${model} of ${service} is no model any more; its table is as it was`,
      );
    });
  return schema;
}

const lineOf = ({ tableName, fields, timeColumn, sourceFile }: ModelInfo): string =>
  `  ${tableName.padEnd(30)} ${String(Object.keys(fields).length).padStart(3)} columns  ` +
  `${(timeColumn ? `hypertable by ${timeColumn}` : '').padEnd(24)}  ${sourceFile}`;
