import cliProgress from 'cli-progress';
import { duration } from '#lib/platform';

/** Reports how much is done, and the total if it is new or has changed. */
export type Update = (done: number, total?: number) => void;

/** Runs `work` under a bar on standard error; if that is not a terminal, prints a line every few seconds instead. */
export async function withProgress<T>(
  what: string,
  total: number,
  work: (update: Update) => Promise<T>,
): Promise<T> {
  const bar = new cliProgress.SingleBar(
    {
      format: `${what} {bar} {value}/{total} · {percentage} %{left}`,
      stream: process.stderr,
      noTTYOutput: true,
      notTTYSchedule: 5_000,
      hideCursor: true,
    },
    cliProgress.Presets.shades_classic,
  );
  const began = performance.now();
  let wanted = total;
  bar.start(total, 0, { left: '' });
  try {
    return await work((done, newTotal) => {
      if (newTotal !== undefined) bar.setTotal((wanted = newTotal));
      bar.update(done, { left: timeLeft(done, wanted, (performance.now() - began) / 1_000) });
    });
  } finally {
    bar.stop();
  }
}

/** The beginning says little about the rest. */
const TELLING_AFTER_S = 5;

/** The time left at the pace so far; undefined if it cannot be known yet. */
export const timeLeft = (done: number, total: number, seconds: number): string =>
  seconds < TELLING_AFTER_S || done <= 0 || done >= total
    ? ''
    : ` · ${duration(((total - done) / done) * seconds)} left`;

/**
 * Runs work with several steps, each under its own bar. Bytes are shown as megabytes from a million on. If the total is
 * unknown, the bar is as long as what is done, and no total is shown.
 */
export async function withSteps<T>(
  unit: 'bytes' | 'events',
  work: (report: (step: string, done: number, total: number | undefined) => void) => Promise<T>,
): Promise<T> {
  let at: string | undefined;
  let bar: cliProgress.SingleBar | undefined;
  const inMegabytes = (bytes: number) => Number((bytes / 1e6).toFixed(1));
  const report = (step: string, done: number, total: number | undefined) => {
    const isLarge = unit === 'bytes' && (total ?? done) > 1e6;
    const [value, end] = [done, total ?? done].map((count) => (isLarge ? inMegabytes(count) : count)) as [
      number,
      number,
    ];
    const shown = { of: total === undefined ? '' : `/${end}`, unit: isLarge ? ' MB' : '' };
    if (step !== at || !bar) {
      bar?.stop();
      at = step;
      bar = new cliProgress.SingleBar(
        {
          format: `${step.padEnd(18)} {bar} {value}{of}{unit} · {duration_formatted}`,
          formatTime: duration,
          stream: process.stderr,
          noTTYOutput: true,
          notTTYSchedule: 5_000,
          hideCursor: true,
        },
        cliProgress.Presets.shades_classic,
      );
      bar.start(end, value, shown);
    } else {
      bar.setTotal(end);
      bar.update(value, shown);
    }
  };
  try {
    return await work(report);
  } finally {
    bar?.stop();
  }
}
