/** A system that does the same work: each caller writes one frame of a flight, durable when the call returns. */
export interface Writer {
  readonly name: string;
  write(flightId: string, caller: number, n: number): Promise<unknown>;
  close(): Promise<unknown>;
}

/** Creates a writer on an empty database; the flights are known before the clock starts. */
export type OpenWriter = (url: string, flights: readonly string[]) => Promise<Writer>;

/** The packages that are installed for the benchmarks alone (packages.mjs), with the part of them that is used here. */
export async function peers<Packages>(): Promise<Packages> {
  const url = new URL('../../../bench/peers/packages.mjs', import.meta.url);
  return (await import(url.href)) as Packages;
}

/** Connections of each peer. More than its default of ten made none of them faster on two cores. */
export const CONNECTIONS = 20;
