import { ArrayMaxSize, ArrayMinSize } from 'class-validator';
import { Nested } from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { MAX_BATCH } from '../fields.js';
import { existing } from '../flight.js';
import { headingEvents, HeadingRecord } from './save-heading.js';

/** Many headings in one append; of several for the same frame the last counts. */
export class SaveHeadings extends FlightCommand<{ saved: number }> {
  @Nested(() => HeadingRecord, { each: true })
  @ArrayMinSize(1)
  @ArrayMaxSize(MAX_BATCH)
  readonly headings!: readonly HeadingRecord[];

  constructor(
    fields: { readonly flightId: string; readonly headings: readonly HeadingRecord[] } & CommandOptions,
  ) {
    super(fields);
  }
}

export const saveHeadings = slice(SaveHeadings, ({ flightId, headings }, flight) => {
  const known = existing(flight, flightId);
  const latest = new Map(headings.map((heading) => [heading.frameId, heading]));
  return {
    events: [...latest.values()].flatMap((heading) => headingEvents(known, heading)),
    answer: { saved: headings.length },
  };
});
