import { prepare, stoppable } from './lib/prepare.mjs';

await stoppable(prepare);
