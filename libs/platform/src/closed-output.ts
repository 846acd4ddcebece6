/**
 * Whoever reads what this process prints may go away, as `head` does after its lines, or a collector of logs that is
 * restarted. The work goes on without a reader, to its own end; Node would end the process at the next line.
 */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
}
