import { parentPort } from 'node:worker_threads';
import { messageOf } from '#lib/platform';
import { expandedSize, loadParser, SyntaxFault } from './expanded-size.js';

/** The answer for a statement. */
export type Sized =
  { readonly size: number } | { readonly fault: string; readonly position: number | undefined };

/** The thread of `StatementSizes`: a statement comes in, its size goes out. */
await loadParser();
parentPort?.on('message', (sql: string) => {
  let answer: Sized;
  try {
    answer = { size: expandedSize(sql) };
  } catch (error) {
    answer = {
      fault: messageOf(error),
      position: error instanceof SyntaxFault ? error.position : undefined,
    };
  }
  parentPort?.postMessage(answer);
});
parentPort?.postMessage('ready');
