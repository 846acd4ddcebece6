import { fail, prepare } from './lib/prepare.mjs';

await prepare().catch(fail);
