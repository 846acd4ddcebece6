import { HYPHENATED } from '#lib/platform';

/** Throws for what cannot be the name of something that a context declares. */
export function refuseName(kind: string, name: string, maxLength: number): void {
  if (HYPHENATED.test(name) && name.length <= maxLength) return;
  throw new Error(
    `${JSON.stringify(name)} is no name of a ${kind}: take lower-case words with hyphens between, ${maxLength} characters at most.`,
  );
}
