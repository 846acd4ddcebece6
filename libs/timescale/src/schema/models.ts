import { IsArray, IsBoolean, IsObject, IsString, MaxLength } from 'class-validator';
import { Example, IsJsonObject, IsText, IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';

/** A table as the code that reads and writes it sees it: plain data, provided by the owner of the table. */
export interface ModelDefinition {
  /** Unique within its service, such as `waypoints`. */
  readonly name: string;
  /** The context that owns the table, such as `flight`. */
  readonly serviceName: string;
  readonly schema: string;
  readonly table: string;
  /** Column types as PostgreSQL names them; ` not null` can follow, and is only checked if it does. */
  readonly columns: Readonly<Record<string, string>>;
  /** The columns of the primary key; empty for a table without one. */
  readonly key: readonly string[];
  /** Makes the table a hypertable over this column. */
  readonly timeColumn?: string;
  /** `flight_id -> flight.flights.id`: a fact about the data, whether or not a foreign key enforces it. */
  readonly relationships: readonly string[];
  /** Where the table is described, as a path in the repository of its service. */
  readonly sourceFile: string;
  /** What makes the table of another shape, if that is not a migration: the projection that folds it, in a sentence. */
  readonly remake?: string;
}

/** Model information. */
export class ModelInfo {
  @IsString() readonly name!: string;
  /** Schema and table. */
  @IsString() readonly tableName!: string;
  /** The type of each column; ` not null` follows where that is stated. */
  @IsObject() readonly fields!: Readonly<Record<string, string>>;
  @IsArray() @IsString({ each: true }) readonly primaryKey!: readonly string[];
  /** `flight_id -> flight.flights.id`. */
  @IsArray() @IsString({ each: true }) readonly relationships!: readonly string[];
  @IsBoolean() readonly isHypertable!: boolean;
  @Optional() @IsString() readonly timeColumn?: string;
  @IsString() readonly sourceFile!: string;
}

/** The models of one service. */
export class ModelDiscoveryResponse {
  @IsString() readonly serviceName!: string;
  @Nested(() => ModelInfo, { each: true }) readonly models!: readonly ModelInfo[];
  @IsTimestamp() readonly discoveryTime!: Timestamp;
}

/** A model that a service registers. */
export class RegisteredModel {
  @IsText() @MaxLength(63) readonly name!: string;
  /** `notes`, in the schema named after the service, or `reports.notes`. */
  @IsText() @MaxLength(127) readonly tableName!: string;
  /** The type of each column, such as `"text"` or `"timestamptz not null"`. */
  @IsJsonObject() readonly fields!: Readonly<Record<string, unknown>>;
  @IsArray()
  @IsString({ each: true })
  @MaxLength(63, { each: true })
  readonly primaryKey!: readonly string[];
  /** `flight_id -> flight.flights.id`. */
  @Optional()
  @IsArray()
  @IsString({ each: true })
  @MaxLength(300, { each: true })
  readonly relationships?: readonly string[] | null;
  /** Makes the table a hypertable over this column, which must then be part of the primary key. */
  @Optional() @IsText() @MaxLength(63) readonly timeColumn?: string | null;
  @IsText() @MaxLength(500) readonly sourceFile!: string;
}

/** Registers models of a service. A model that the service has registered before is replaced. */
@Example<ModelRegistrationRequest>({
  serviceName: 'reports',
  models: [
    {
      name: 'notes',
      tableName: 'reports.notes',
      fields: { id: 'text not null', body: 'text' },
      primaryKey: ['id'],
      sourceFile: 'src/notes.ts',
    },
  ],
})
export class ModelRegistrationRequest {
  /** Lower-case letters, digits and underscores; also the name of the schema of its tables. */
  @IsText() @MaxLength(63) readonly serviceName!: string;
  @Nested(() => RegisteredModel, { each: true }) readonly models!: readonly RegisteredModel[];
  /** Makes the tables that are not there yet; default false. */
  @Optional() @IsBoolean() readonly autoCreateTables?: boolean | null;
}

export const tableNameOf = ({ schema, table }: Pick<ModelDefinition, 'schema' | 'table'>): string =>
  `${schema}.${table}`;

export const modelInfo = (model: ModelDefinition): ModelInfo => ({
  name: model.name,
  tableName: tableNameOf(model),
  fields: model.columns,
  primaryKey: model.key,
  relationships: model.relationships,
  isHypertable: model.timeColumn !== undefined,
  ...(model.timeColumn !== undefined && { timeColumn: model.timeColumn }),
  sourceFile: model.sourceFile,
});

/** The models by service, in the order of their first model. */
export function discovery(models: readonly ModelDefinition[]): ModelDiscoveryResponse[] {
  const services = [...new Set(models.map(({ serviceName }) => serviceName))];
  const discoveryTime = new Date().toISOString();
  return services.map((serviceName) => ({
    serviceName,
    models: models.filter((model) => model.serviceName === serviceName).map(modelInfo),
    discoveryTime,
  }));
}
