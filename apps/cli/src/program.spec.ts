import type { Command } from 'commander';
import { makeProgram, wrapped } from './program.js';

const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

describe('the help of the command line', () => {
  let commands: Command[];
  beforeAll(async () => {
    commands = all(await makeProgram());
  });

  it('knows every command', () => {
    expect(commands.length).toBeGreaterThan(40);
  });

  it('describes each of them, with its options and arguments', () => {
    const undescribed = commands.flatMap((command) =>
      [
        // A sentence or most of one.
        ...(command.description().length > 10 ? [] : ['itself']),
        ...command.options.filter(({ description }) => !description).map(({ flags }) => flags),
        ...command.registeredArguments.filter(({ description }) => !description).map((one) => one.name()),
      ].map((what) => `${pathOf(command)}: ${what}`),
    );
    expect(undescribed).toEqual([]);
  });

  it('fits into 80 columns', () => {
    // A command to copy stays on one line.
    const isExample = (line: string) => /^ {2}(waylog|curl) /.test(line);
    const wide = commands.flatMap((command) => {
      let text = '';
      command.configureOutput({
        ...command.configureOutput(),
        writeOut: (part) => (text += wrapped(part, 80)),
      });
      command.outputHelp();
      return text
        .split('\n')
        .filter((line) => line.length > 80 && !isExample(line))
        .map((line) => `${pathOf(command)}: ${line}`);
    });
    expect(wide).toEqual([]);
  });
});

describe('a wrapped help', () => {
  it('fills paragraphs, and leaves what is indented as it is', () => {
    const text = 'Usage: x\n\none two three four\nfive six\n  an example that is long enough\n\nend\n';
    expect(wrapped(text, 12)).toBe(
      'Usage: x\n\none two\nthree four\nfive six\n  an example that is long enough\n\nend\n',
    );
  });
});
