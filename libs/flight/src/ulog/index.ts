export type { ClockSource } from './clock.js';
export { earlierImport, type EarlierImport } from './earlier-import.js';
export { flightIdOfFile } from './flight-id.js';
export { DEFAULT_RATE, readUlog, type ReadUlogOptions } from './read-ulog.js';
export {
  datedAsBefore,
  IMPORT_BATCH,
  isBegunBy,
  ulogCommandCount,
  ulogCommands,
  type UlogCommandOptions,
} from './ulog-commands.js';
export {
  reportLines,
  type UlogFlight,
  type UlogFrame,
  type UlogReport,
  type UlogSource,
  type UlogVehicle,
  type UlogWaypoint,
} from './ulog-flight.js';
