import cliProgress from 'cli-progress';

/** Runs `work`, which may learn the total later, under a bar on standard error; where that is no terminal, a line every few seconds instead. */
export async function withProgress<T>(
  what: string,
  total: number,
  work: (update: (done: number, total?: number) => void) => Promise<T>,
): Promise<T> {
  const bar = new cliProgress.SingleBar(
    {
      format: `${what} {bar} {value}/{total} · {percentage} % · {eta_formatted} left`,
      stream: process.stderr,
      noTTYOutput: true,
      notTTYSchedule: 5_000,
      hideCursor: true,
    },
    cliProgress.Presets.shades_classic,
  );
  bar.start(total, 0);
  try {
    return await work((done, newTotal) => {
      if (newTotal !== undefined) bar.setTotal(newTotal);
      bar.update(done);
    });
  } finally {
    bar.stop();
  }
}
