import { access, chmod, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';

export const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** Creates a folder that others can pass through, whatever the umask is (the server may run as another user). */
export async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let made = path; made.startsWith(first); made = dirname(made)) await chmod(made, 0o755);
}
