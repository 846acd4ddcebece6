/** How long there can be no progress before a wait gives up. */
const PATIENCE_MS = 60_000;

const LOOK_EVERY_MS = 5;

/**
 * Waits until a condition holds. Throws if there is no progress for a minute: a change of what `seen` returns, or else
 * of the condition. A slow machine makes a wait longer, and fails no test.
 */
export async function eventually(isSo: () => unknown, seen: () => unknown = () => false): Promise<void> {
  let last: string | undefined;
  let movedAt = performance.now();
  while (!(await isSo())) {
    const now = JSON.stringify(await seen());
    if (now !== last) {
      last = now;
      movedAt = performance.now();
    } else if (performance.now() - movedAt > PATIENCE_MS) {
      throw new Error(
        `Nothing has moved for ${PATIENCE_MS / 1_000} s (${last}). Waited until ${String(isSo)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
