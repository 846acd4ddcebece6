import { readFileSync } from 'node:fs';

// Loaded into a server before anything else (NODE_OPTIONS=--import): its wall clock is off by the milliseconds in a
// file, and jumps when the file changes. The monotonic clock runs on, as it does when an administrator sets the time.

const file = process.env['FAULTS_CLOCK_FILE'];
const RealDate = Date;
let offset = 0;

const read = (): void => {
  if (file !== undefined) offset = Number(readFileSync(file, 'utf8')) || 0;
};
read();
setInterval(read, 10).unref();

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: unknown[], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [RealDate.now() + offset] : args, newTarget) as object,
  apply: () => new RealDate(RealDate.now() + offset).toString(),
  get: (target, property, receiver) =>
    property === 'now' ? () => RealDate.now() + offset : (Reflect.get(target, property, receiver) as unknown),
});
