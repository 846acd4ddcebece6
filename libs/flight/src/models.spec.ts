import { readFileSync } from 'node:fs';
import { flightModels, flightProjections } from './context.js';

describe('the models of the flight context', () => {
  it('are one for each projection', () => {
    expect(flightModels.map(({ name }) => name)).toEqual(flightProjections.map(({ name }) => name));
  });

  it.each(flightModels.map((model) => [model.name, model] as const))(
    'name the file that defines %s',
    (_, model) => {
      const source = readFileSync(model.sourceFile, 'utf8');
      expect(source).toMatch(new RegExp(`TableDefinition = {[^}]*name: '${model.table}'`));
    },
  );

  it('refer to existing columns', () => {
    const columns = new Set(
      flightModels.flatMap(({ schema, table, columns }) =>
        Object.keys(columns).map((column) => `${schema}.${table}.${column}`),
      ),
    );
    for (const { schema, table, relationships } of flightModels) {
      for (const relationship of relationships) {
        const [column, target] = relationship.split(' -> ');
        expect(columns).toContain(`${schema}.${table}.${column}`);
        expect(columns).toContain(target);
      }
    }
    expect(flightModels.find(({ name }) => name === 'waypoints')?.relationships).toEqual([
      'flight_id -> flight.flights.id',
    ]);
  });
});
