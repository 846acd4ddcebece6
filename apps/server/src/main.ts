import { setFlagsFromString } from 'node:v8';
import { asTyped, messageOf, outliveReaders, readConfig } from '#lib/platform';
import { refuseOtherSchema } from '../../../migrations/index.js';
import { contexts } from '../../contexts.js';
import { Observer } from './operations/observation.js';
import { startServer } from './server.js';
import { outliveStrayRejections } from './stray-rejections.js';

// By default V8 lets garbage grow to several times the live memory before it collects: 520 MiB with 130 in use, and 310
// with this setting, at a request rate that does not differ by more than the noise.
setFlagsFromString('--heap-growing-percent=50');

/** A check of a silent database or log takes three seconds at most, plus one to be safe. */
const LAST_LOOK_S = 4;

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** A stop before the server has started is not a failure, and errors caused by that stop are not reported. */
const stop = { isUnderWay: false };

/** For the person who started it. */
const say = (text: string) => console.log(asTyped(text));

outliveReaders();
outliveStrayRejections();

try {
  const config = readConfig(process.env, contexts);
  for (const warning of config.warnings) console.warn(asTyped(`Waylog: ${warning}`));
  await refuseOtherSchema(config.databaseUrl);
  const app = await startServer(config, say, (app) => {
    // Not before there is something to stop cleanly: until then a signal ends the process at once.
    app.enableShutdownHooks([...SIGNALS], { useProcessExit: true });
    const observer = app.get(Observer);
    for (const signal of SIGNALS)
      process.once(signal, () => {
        stop.isUnderWay = true;
        endWithin(config.stopTimeout, observer);
      });
  });
  if (config.demo && config.roles.includes('api') && !stop.isUnderWay) {
    const url = await app.getUrl();
    for (const { demo } of contexts) {
      if (!demo) continue;
      const { what, path } = await demo.start(app);
      say(
        `${what}: ${url}${path} (a browser asks for a name, which may be any, and for the key as the password)`,
      );
    }
  }
} catch (error) {
  if (!stop.isUnderWay) {
    console.error(asTyped(`Waylog did not start. ${whyNot(error)}`));
    process.exit(1);
  }
}

/**
 * A stop waits for the commands in progress, which wait for a database or a log that may be silent. A client without an
 * answer sends its command again: nothing that was acknowledged depends on a clean stop.
 */
function endWithin(seconds: number, observer: Observer): void {
  // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: what does not answer is what it sees
  setTimeout(() => void observer.observe({ anew: true }), Math.max(0, seconds - LAST_LOOK_S) * 1_000).unref();
  setTimeout(() => {
    console.error(
      `Waylog did not stop within ${seconds} s (WAYLOG_STOP_TIMEOUT)${observer.silent ? `: ${observer.silent}` : ''}. ` +
        `It ends now; commands without an answer may have been recorded, and are safe to send again with their ids.`,
    );
    process.exit(1);
  }, seconds * 1_000).unref();
}

function whyNot(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'EADDRINUSE') return messageOf(error);
  return `Another program listens on port ${process.env['PORT'] ?? '3000'}. End it, or choose a port, such as PORT=3001.`;
}
