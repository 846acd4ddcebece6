import { ArrayMaxSize, ArrayMinSize } from 'class-validator';
import { Nested } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { MAX_BATCH } from '../fields.js';
import { existing } from '../flight.js';
import { frameEvents, FrameResult } from './save-frame-result.js';

/** Many frames in one append; of several with the same id the last counts. */
export class SaveFrameResults extends FlightCommand<{ saved: number }> {
  @Nested(() => FrameResult, { each: true })
  @ArrayMinSize(1)
  @ArrayMaxSize(MAX_BATCH)
  readonly frames!: readonly FrameResult[];

  constructor(
    fields: { readonly flightId: string; readonly frames: readonly FrameResult[] } & CommandOptions,
  ) {
    super(fields);
  }
}

export const saveFrameResults = slice(SaveFrameResults, ({ flightId, frames }, flight, { at }) => {
  const known = existing(flight, flightId);
  const latest = new Map(frames.map((frame) => [frame.frameId, frame]));
  return {
    events: [...latest.values()].flatMap((frame) => frameEvents(known, frame, at)),
    answer: { saved: frames.length },
  };
});
