import { Logger } from '@nestjs/common';
import type { ProjectorLog } from '#lib/projections';

/** What runs in the background says, in the log of the application. */
export function sayings(): ProjectorLog {
  const log = new Logger('Waylog');
  return { info: (message) => log.log(message), warn: (message) => log.warn(message) };
}
