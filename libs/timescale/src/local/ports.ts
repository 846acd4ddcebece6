import { createServer } from 'node:net';

/** Whether a server could listen on this port of 127.0.0.1 now. */
export const isFree = async (port: number): Promise<boolean> => (await listen(port)) !== undefined;

/** A free port of 127.0.0.1: `wanted` if it is free, else one that the system picks. */
export async function freePort(wanted?: number): Promise<number> {
  const port = (wanted === undefined ? undefined : await listen(wanted)) ?? (await listen(0));
  if (port === undefined) throw new Error('the system has no free port on 127.0.0.1');
  return port;
}

const listen = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
