import pg from 'pg';
import { conflict, databaseCall, invalidInput, notFound, validate, type FieldError } from '#lib/platform';
import { queryOn, readCatalog, type Query } from './catalog.js';
import { compareModels, parseRelationship, statedType } from './compare.js';
import {
  ModelRegistrationRequest,
  tableNameOf,
  type ModelDefinition,
  type RegisteredModel,
} from './models.js';

/** The types that a column of a registered model can have. */
const COLUMN_TYPES: ReadonlySet<string> = new Set([
  'text',
  'smallint',
  'integer',
  'bigint',
  'real',
  'double precision',
  'numeric',
  'boolean',
  'timestamp with time zone',
  'date',
  'uuid',
  'jsonb',
  'bytea',
]);

const TIME_TYPES: ReadonlySet<string> = new Set(['timestamp with time zone', 'date']);

/** Needs no quoting except for SQL keywords, and is quoted all the same. */
const IDENTIFIER = /^[a-z_][a-z0-9_]{0,62}$/;
const IDENTIFIER_RULE =
  'must be lower-case letters, digits and underscores, 63 at most, and not begin with a digit';

/** Schemas that belong to PostgreSQL, TimescaleDB, all users, a rebuild, or a verification. */
const RESERVED = /^(pg_|_?timescaledb|information_schema$|public$|toolkit_|rebuild_|verify_)/;

/** Held while a registration checks for collisions and creates tables. */
const REGISTRY_LOCK = 7239100405;

/** The models that services have registered at runtime; none if the table for them does not exist (yet). */
export async function registeredModels(query: Query): Promise<ModelDefinition[]> {
  const [table] = await query<{ found: string | null }>(
    `select to_regclass('registry.models')::text as found`,
  );
  if (!table?.found) return [];
  const rows = await query<{ definition: ModelDefinition }>(
    `select definition from registry.models order by service_name, name`,
  );
  return rows.map(({ definition }) => definition);
}

/**
 * Registers models of a service, all or none, and creates their tables if requested.
 *
 * @param own the models of the code: other services cannot use their services and schemas
 * @returns all models that the service has registered now
 * @throws WaylogError `input.invalid` with every bad field, `service.reserved`, `model.table-taken` if a table belongs
 * to another service, `model.table-differs` if it exists with another shape
 */
export async function registerModels(
  pool: pg.Pool,
  request: ModelRegistrationRequest,
  own: readonly ModelDefinition[],
): Promise<ModelDefinition[]> {
  validate(ModelRegistrationRequest, request);
  const models = definitionsOf(request);
  const reserved = new Set([
    ...own.map(({ serviceName }) => serviceName),
    ...own.map(({ schema }) => schema),
  ]);
  for (const schema of [request.serviceName, ...models.map((model) => model.schema)]) {
    if (!reserved.has(schema) && !RESERVED.test(schema)) continue;
    throw conflict(
      'service.reserved',
      `The name ${schema} is not for registered models: it belongs to Waylog's own tables or to the database. ` +
        `Choose another name for the service, or another schema for the table.`,
      { name: schema },
    );
  }
  const client = await pool.connect();
  const query = queryOn(client);
  try {
    await client.query('begin');
    await client.query(`select pg_advisory_xact_lock($1)`, [REGISTRY_LOCK]);
    const registered = await registeredModels(query);
    for (const model of models) {
      const name = tableNameOf(model);
      const owner = registered.find(
        (other) =>
          tableNameOf(other) === name &&
          (other.serviceName !== model.serviceName || other.name !== model.name),
      );
      if (owner) {
        throw conflict(
          'model.table-taken',
          `The table ${name} of model ${model.name} belongs to model ${owner.name} of service ${owner.serviceName}. Choose another table.`,
          { table: name, serviceName: owner.serviceName },
        );
      }
      const neighbour = registered.find(
        (other) => other.schema === model.schema && other.serviceName !== model.serviceName,
      );
      if (neighbour && model.schema !== model.serviceName) {
        throw conflict(
          'model.table-taken',
          `The schema ${model.schema} of model ${model.name} belongs to service ${neighbour.serviceName}. Leave the schema out: the tables of ${model.serviceName} stand in a schema of that name.`,
          { table: name, serviceName: neighbour.serviceName },
        );
      }
      if (await refuseOtherShape(query, model)) continue;
      if (request.autoCreateTables === true) await createTable(client, model);
    }
    for (const model of models) {
      await client.query(
        `insert into registry.models (service_name, name, definition) values ($1, $2, $3)
             on conflict (service_name, name) do update set definition = excluded.definition, registered_at = clock_timestamp()`,
        [model.serviceName, model.name, JSON.stringify(model)],
      );
    }
    const all = await registeredModels(query);
    await client.query('commit');
    return all.filter(({ serviceName }) => serviceName === request.serviceName);
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}

/**
 * Removes a registered model. Its table and rows stay: they belong to the service. Throws `service.reserved` for the
 * models of the code, and `model.not-found`.
 */
export async function removeModel(
  pool: pg.Pool,
  serviceName: string,
  name: string,
  own: readonly ModelDefinition[],
): Promise<void> {
  if (own.some((model) => model.serviceName === serviceName)) {
    throw conflict(
      'service.reserved',
      `The models of ${serviceName} are Waylog's own: they stand in its code, and nobody has registered them.`,
      { name: serviceName },
    );
  }
  const { rowCount } = await databaseCall(() =>
    pool.query(`delete from registry.models where service_name = $1 and name = $2`, [serviceName, name]),
  );
  if (rowCount === 0) {
    throw notFound(
      'model.not-found',
      `Service ${serviceName} has registered no model ${name}. \`waylog schema models\` lists them.`,
      { serviceName, name },
    );
  }
}

/** Whether the table exists. Throws if it does and differs from the model. */
async function refuseOtherShape(query: Query, model: ModelDefinition): Promise<boolean> {
  const catalog = await readCatalog(query, [model.schema]);
  const name = tableNameOf(model);
  if (!catalog.has(`table ${name}`) && !catalog.has(`view ${name}`)) return false;
  const differences = compareModels([{ ...model, relationships: [] }], catalog);
  if (differences.length === 0) return true;
  throw conflict(
    'model.table-differs',
    `The table ${name} is there, but is not what the model says: ` +
      `${differences.map(({ description }) => description).join(' ')} Correct the model, choose another table, or change this one first.`,
    { table: name, issues: differences },
  );
}

/** The model as plain data. Throws `input.invalid` with every field that cannot be a table. */
function definitionsOf({ serviceName, models }: ModelRegistrationRequest): ModelDefinition[] {
  const errors: FieldError[] = [];
  const identifier = (field: string, text: string) => {
    if (!IDENTIFIER.test(text)) errors.push({ field, message: IDENTIFIER_RULE });
  };
  identifier('serviceName', serviceName);
  if (models.length === 0) errors.push({ field: 'models', message: 'must have at least 1 items' });
  const definitions = models.map((model, n) =>
    definitionOf(serviceName, model, `models[${n}]`, identifier, errors),
  );
  const names = definitions.flatMap((model) => [`model ${model.name}`, `table ${tableNameOf(model)}`]);
  for (const name of new Set(names.filter((each, n) => names.indexOf(each) !== n)))
    errors.push({ field: 'models', message: `must not have the ${name} twice` });
  if (errors.length > 0) throw invalidInput(errors);
  return definitions;
}

function definitionOf(
  serviceName: string,
  model: RegisteredModel,
  field: string,
  identifier: (field: string, text: string) => void,
  errors: FieldError[],
): ModelDefinition {
  const parts = model.tableName.split('.');
  const [schema = '', table = ''] = parts.length === 1 ? [serviceName, model.tableName] : parts;
  identifier(`${field}.name`, model.name);
  if (parts.length > 2 || !IDENTIFIER.test(schema) || !IDENTIFIER.test(table))
    errors.push({ field: `${field}.tableName`, message: `each part ${IDENTIFIER_RULE}` });
  const columns: Record<string, string> = {};
  const entries = Object.entries(model.fields);
  if (entries.length === 0) errors.push({ field: `${field}.fields`, message: 'must not be empty' });
  for (const [column, type] of entries) {
    identifier(`${field}.fields.${column}`, column);
    if (typeof type !== 'string' || !COLUMN_TYPES.has(statedType(type).type)) {
      errors.push({
        field: `${field}.fields.${column}`,
        message: `must be one of ${[...COLUMN_TYPES].join(', ')}, with or without " not null" behind it`,
      });
    } else columns[column] = type;
  }
  const known = (name: string) => Object.hasOwn(model.fields, name);
  for (const column of model.primaryKey) {
    if (!known(column))
      errors.push({ field: `${field}.primaryKey`, message: `has ${column}, which is not in fields` });
  }
  const relationships = model.relationships ?? [];
  for (const text of relationships) {
    const parsed = parseRelationship(text);
    if (!parsed || !known(parsed.column)) {
      errors.push({
        field: `${field}.relationships`,
        message: 'each must be like "flight_id -> flight.flights.id", with a column that is in fields',
      });
    }
  }
  const timeColumn = model.timeColumn ?? undefined;
  if (timeColumn !== undefined) {
    const type = columns[timeColumn];
    if (!known(timeColumn) || (type !== undefined && !TIME_TYPES.has(statedType(type).type)))
      errors.push({
        field: `${field}.timeColumn`,
        message: 'must be a timestamptz or date that is in fields',
      });
    if (model.primaryKey.length > 0 && !model.primaryKey.includes(timeColumn)) {
      errors.push({
        field: `${field}.primaryKey`,
        message: `must have ${timeColumn}: TimescaleDB wants the time column in every unique key`,
      });
    }
  }
  return {
    name: model.name,
    serviceName,
    schema,
    table,
    columns,
    key: model.primaryKey,
    ...(timeColumn !== undefined && { timeColumn }),
    relationships,
    sourceFile: model.sourceFile,
  };
}

/** Names have been checked, and are quoted; types come from the list above. */
async function createTable(client: pg.PoolClient, model: ModelDefinition): Promise<void> {
  const id = pg.escapeIdentifier;
  const name = `${id(model.schema)}.${id(model.table)}`;
  const columns = Object.entries(model.columns).map(([column, stated]) => {
    const { type, notNull } = statedType(stated);
    return `${id(column)} ${type}${notNull ? ' not null' : ''}`;
  });
  if (model.key.length > 0) columns.push(`primary key (${model.key.map(id).join(', ')})`);
  await client.query(`create schema if not exists ${id(model.schema)}`);
  await client.query(`create table ${name} (${columns.join(', ')})`);
  if (model.timeColumn !== undefined)
    await client.query(`select create_hypertable($1::regclass, by_range($2::name))`, [
      name,
      model.timeColumn,
    ]);
}
