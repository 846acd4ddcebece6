import { once } from 'node:events';
import { messageOf } from '#lib/platform';
import { lead } from '#lib/projections';

// A process that only leads, to be frozen: node dist/test/support/leading-process.js URL NAME SILENCE_MS

const [connectionString = '', name = '', silenceMs] = process.argv.slice(2);
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const options = {
  name,
  applicationName: `waylog test ${name}`,
  connectionString,
  standbyIntervalMs: 50,
  silenceMs: Number(silenceMs),
  onStandby: () => undefined,
  signal: stop.signal,
};
const work = async (_client: unknown, signal: AbortSignal) => {
  console.log('leads');
  if (!signal.aborted) await once(signal, 'abort');
};
await lead(options, work).then(
  () => console.log('stopped'),
  (error: unknown) => console.log(messageOf(error)),
);
