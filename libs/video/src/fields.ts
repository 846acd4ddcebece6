import { IsBoolean, IsIn, IsInt, IsNumber, Max, Min } from 'class-validator';
import { all, Sample } from '#lib/platform';
import { PRIORITIES } from './events.js';

/** The rules of values that the video context shares. */

/** From 0 to 1. */
export const Share = () => all(IsNumber(), Min(0), Max(1), Sample(0.5));
/** The number of an attempt, from 1. */
export const AttemptNumber = () => all(IsInt(), Min(1), Sample(1));
export const PriorityName = () => all(IsIn(PRIORITIES), Sample('normal'));
/** Pixels: 8K is 7,680 wide. */
export const Pixels = () => all(IsInt(), Min(16), Max(16_384), Sample(1080));
export const Flag = () => IsBoolean();
