import { flightProjections } from '#lib/flight';
import { hashTable } from '#lib/projections';
import { openSession } from '#lib/platform';

/** The fingerprint of every table of the flight context, by name. */
export async function tableHashes(databaseUrl: string): Promise<Record<string, string>> {
  const client = await openSession({ connectionString: databaseUrl, applicationName: 'waylog test' });
  try {
    const hashes: Record<string, string> = {};
    for (const { name, table } of flightProjections) {
      const { rows, hash } = await hashTable(client, `${table.schema}.${table.name}`);
      hashes[name] = `${rows} rows ${hash}`;
    }
    return hashes;
  } finally {
    await client.end();
  }
}
