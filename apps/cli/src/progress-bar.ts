import cliProgress from 'cli-progress';

export interface ProgressBar {
  update(done: number): void;
  stop(): void;
}

/** A bar on standard error; where that is no terminal, a line every few seconds. */
export function progressBar(what: string, total: number): ProgressBar {
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
  return { update: (done) => bar.update(done), stop: () => bar.stop() };
}
