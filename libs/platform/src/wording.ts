/** `1 event`, `2 events`. */
export const counted = (count: number | bigint, one: string, many = `${one}s`): string =>
  `${count} ${Number(count) === 1 ? one : many}`;

/** A length of time for people: `3s`, `2m 5s`, `1h 20m`. Minutes and seconds are whole. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
}

/** What a person types before a command of Waylog: `waylog` if it is installed, `./waylog` in a checkout. */
const typed = (): string => process.env['WAYLOG_TYPED'] ?? 'waylog';

/** A text for people, with the commands in it as they are typed here. */
export const asTyped = (text: string): string =>
  typed() === 'waylog' ? text : text.replaceAll(/(?<![\w./-])waylog(?= [a-z])/g, typed());
