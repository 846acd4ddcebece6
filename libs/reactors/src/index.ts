export * from './acting.js';
export * from './deadline-sender.js';
export * from './failures.js';
export * from './operate.js';
export { placeOf, takePlaceAnew } from './recorded.js';
export * from './states.js';
export * from './verify.js';
