import cliProgress from 'cli-progress';

/** Runs `work` under a bar on standard error; where that is no terminal, a line every few seconds instead. */
export async function withProgress<T>(
  what: string,
  total: number,
  work: (update: (done: number) => void) => Promise<T>,
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
    return await work((done) => bar.update(done));
  } finally {
    bar.stop();
  }
}
