/**
 * The reader of this process's output can close it, as `head` does after its lines, or a log collector that is
 * restarted. The work continues to its end without a reader; by default Node would end the process at the next line.
 */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
}
