import { Logger } from '@nestjs/common';

let seen = 0;

/** How many there have been in this process. */
export const strayRejections = (): number => seen;

/**
 * A rejected promise that is not awaited is logged and counted, and the process continues: no answer depends on the
 * promise, but all callers depend on the process. An uncaught exception still ends it. See docs/decisions/0034.
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
