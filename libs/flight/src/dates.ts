/** The fields that hold a time, wherever they are. */
const TIMES = ['timestamp', 'createdAt', 'updatedAt', 'createdFrom', 'createdTo', 'from', 'to'] as const;

type TimeField = (typeof TIMES)[number];

/** The same with a `Date` allowed wherever a time is; also in the parts of an inserted flight. */
export type WithDates<T> = {
  [K in keyof T]: K extends TimeField
    ? T[K] | Date
    : K extends 'waypoints'
      ? readonly WithDates<Item<T[K]>>[] | Exclude<T[K], readonly unknown[]>
      : T[K];
};

type Item<T> = T extends readonly (infer I)[] ? I : never;

/** A time as text. An invalid Date stays as it is, and is refused with the other bad fields. */
export const timeAsText = (time: string | Date): string =>
  time instanceof Date && !Number.isNaN(time.getTime()) ? time.toISOString() : (time as string);

/** The same with each `Date` as text. Anything else, wrong input too, stays as it is. */
export function datesAsText<T>(input: WithDates<T>): T {
  if (typeof input !== 'object' || (input as unknown) === null) return input as T;
  const copy: Record<string, unknown> = { ...input };
  for (const field of TIMES) if (copy[field] instanceof Date) copy[field] = timeAsText(copy[field]);
  if (Array.isArray(copy['waypoints'])) copy['waypoints'] = copy['waypoints'].map(datesAsText);
  return copy as T;
}
