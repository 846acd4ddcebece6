import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import type { Step, StepResults } from '#lib/waylog';
import { FlightCommand, type CommandOptions } from './command.js';

/**
 * Several commands on one flight, each seeing the effects of those before it: all of them are recorded, or none.
 * Refused with `transaction.too-much` if their events would be too large together.
 */
export class Transact extends FlightCommand<StepResults> {
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(1_000) readonly commands!: readonly Step[];

  constructor(fields: { readonly flightId: string; readonly commands: readonly Step[] } & CommandOptions) {
    super(fields);
  }
}
