import type { DatabaseOptions } from '#lib/timescale';
import { scenarios } from './scenarios.js';

// Prints why which scenario cannot run here, as JSON: jest needs to know before it runs anything.

const { DATABASE_URL: _, ...env } = process.env;
const instance: DatabaseOptions = { root: process.cwd(), instance: process.argv[2] ?? '', env };
const reasons: Record<string, string> = {};
for (const { name, unavailable } of scenarios) {
  const reason = await unavailable?.(instance);
  if (reason !== undefined) reasons[name] = reason;
}
console.log(JSON.stringify(reasons));
