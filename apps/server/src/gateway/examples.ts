import type { ContextExamples } from '#lib/waylog';
import { contexts } from '../../../contexts.js';
import { changedTogether } from './stream-keys.js';

const none: ContextExamples = {
  ids: {},
  command: { command: '', parameters: {} },
  sql: { query: 'select 1', values: [] },
};
const [found = none] = contexts.flatMap((context) => context.examples ?? []);
const [stream] = changedTogether;

/** What the page of the API fills in, of the first context that has examples. */
export const examples = {
  ...found,
  thing: stream ? { [stream.key]: found.ids[stream.category.name] ?? '1' } : {},
};
