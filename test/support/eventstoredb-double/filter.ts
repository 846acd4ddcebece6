import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import type { StoredEvent } from './log.js';

export interface Filter {
  readonly matches: (event: StoredEvent) => boolean;
  /** How many events are scanned between two checkpoints. */
  readonly checkpointEvery: number;
}

/** The filter of a request: by stream or type, by prefix or regular expression. Without one everything matches. */
export function filterOf(options: ReadReq.Options): Filter {
  const filter = options.getFilter();
  if (!filter) return { matches: () => true, checkpointEvery: Infinity };
  const byStream = filter.getStreamIdentifier();
  const expression = byStream ?? filter.getEventType();
  const prefixes = expression?.getPrefixList() ?? [];
  const regex = expression?.getRegex() ? new RegExp(expression.getRegex()) : undefined;
  const window = filter.hasMax() ? filter.getMax() : 1;
  return {
    matches: (event) => {
      const text = byStream ? event.stream : event.type;
      return regex ? regex.test(text) : prefixes.some((prefix) => text.startsWith(prefix));
    },
    checkpointEvery: Math.max(1, window * filter.getCheckpointintervalmultiplier()),
  };
}
