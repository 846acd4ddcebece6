import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { makeProgram } from './program.js';

const below = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file));
const files = [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md'],
  ...['docs', 'apps', 'libs', 'migrations'].flatMap(below),
].filter((file) => /\.(md|ts)$/.test(file) && !/\.spec\.ts$|decisions.[^/]*\.md$/.test(file));

/** Commands between backticks, as texts and pages quote them: `waylog log export --stream flight-f1`. */
const quoted = files.flatMap((file) => {
  const pattern = file.endsWith('.md') ? /`(?:\.\/)?waylog ([a-z][^`]*)`/g : /\\`waylog ([a-z][^`\\]*)\\`/g;
  return [...readFileSync(file, 'utf8').matchAll(pattern)].map(([, words = '']) => ({
    file,
    words: words.split(/\s+/),
  }));
});

/** What of it the command line would refuse; undefined if nothing. */
function unknownIn(program: Command, words: readonly string[]): string | undefined {
  let command = program;
  let rest = [...words];
  for (;;) {
    const [first] = rest;
    const found = command.commands.find((one) => one.name() === first || one.aliases().includes(first ?? ''));
    if (!found) break;
    command = found;
    rest = rest.slice(1);
  }
  const [first = ''] = rest;
  if (command === program) return first;
  // A group with a command of its own, such as `backup`, has that one's options.
  if (command.commands.length > 0 && /^[a-z]/.test(first)) return first;
  const known = new Set(
    [program, command, ...command.commands].flatMap(({ options }) =>
      options.flatMap(({ long, short }) => [long ?? '', short ?? '']),
    ),
  );
  return rest
    .map((word) => /^\[?(--[a-z-]+)/.exec(word)?.[1] ?? '')
    .find((option) => option !== '' && option !== '--help' && !known.has(option));
}

describe('commands that texts and pages name', () => {
  it('exist, with their options', async () => {
    const program = await makeProgram();
    expect(quoted.length).toBeGreaterThan(200);
    expect(
      quoted.flatMap(({ file, words }) => {
        const unknown = unknownIn(program, words);
        return unknown === undefined ? [] : [`${file}: waylog ${words.join(' ')} (${unknown})`];
      }),
    ).toEqual([]);
  });
});
