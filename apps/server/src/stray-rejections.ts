import { Logger } from '@nestjs/common';

let seen = 0;

/** How many there have been in this process. */
export const strayRejections = (): number => seen;

/**
 * A rejected promise that nobody waits for is logged, counted and outlived: nobody's answer depends on it, and those of everybody
 * else do depend on the process. An exception that nobody has caught ends it all the same. See docs/decisions/0034.
 */
export function outliveStrayRejections(): void {
  const log = new Logger('Process');
  process.on('unhandledRejection', (reason: unknown) => {
    seen++;
    log.error(
      'Something failed that nobody waited for, which is a defect of Waylog or of a library; the server works on. Please report it.',
      reason instanceof Error ? reason.stack : String(reason),
    );
  });
}
