import { IsBoolean, IsInt, IsNumber, Max, Min } from 'class-validator';
import { all, Sample } from '#lib/platform';

/** The rules of values that the whole flight context shares. */
const INT4_MAX = 2_147_483_647;

/** Degrees north, WGS84. */
export const Latitude = () => all(IsNumber(), Min(-90), Max(90), Sample(63.44));
/** Degrees east, WGS84. */
export const Longitude = () => all(IsNumber(), Min(-180), Max(180), Sample(10.4));
/** Metres above mean sea level. */
export const Altitude = () => all(IsNumber(), Sample(120));
/** Degrees clockwise from north, 0 to 360; 360 is stored as 0. */
export const HeadingDegrees = () => all(IsNumber(), Min(0), Max(360), Sample(92.5));
/** From 0, a guess, to 1, certain. */
export const Confidence = () => all(IsNumber(), Min(0), Max(1), Sample(0.9));
/** The number of a camera frame, or a count of them. */
export const FrameNumber = () => all(IsInt(), Min(0), Max(INT4_MAX), Sample(0));
export const Flag = () => IsBoolean();
/** Arrays of one command can hold at most this many waypoints, frames or headings. */
export const MAX_BATCH = 5_000;

export const normalHeading = (degrees: number): number => (degrees === 360 ? 0 : degrees);
