import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { inTime, messageOf, sendSpans } from '#lib/platform';

/** A collector that does not answer must not hold up a stop. */
const WITHIN_MS = 2_000;

/** Has the spans sent that are held back to go out together: after a stop nobody sends them. */
@Injectable()
export class LastSpans implements OnApplicationShutdown {
  async onApplicationShutdown(): Promise<void> {
    const late = () => new Error(`the collector has not answered within ${WITHIN_MS / 1_000} s`);
    await inTime(WITHIN_MS, sendSpans(), late).catch((error: unknown) =>
      new Logger('Waylog').warn(`The last spans may be lost: ${messageOf(error)}`),
    );
  }
}
