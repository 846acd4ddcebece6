import type { Command } from 'commander';
import { makeProgram, wrapped } from './program.js';

const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

describe('the help of the command line', () => {
  const commands = all(makeProgram());

  it('knows every command', () => {
    expect(commands.length).toBeGreaterThan(40);
  });

  it.each(commands.map((command) => [pathOf(command), command] as const))('describes: %s', (_, command) => {
    // A sentence or most of one, and a description for every option and argument.
    expect(command.description().length).toBeGreaterThan(10);
    expect(command.options.filter(({ description }) => !description)).toEqual([]);
    expect(
      command.registeredArguments
        .filter(({ description }) => !description)
        .map((argument) => argument.name()),
    ).toEqual([]);
  });

  it.each(commands.map((command) => [pathOf(command), command] as const))(
    'fits into 80 columns: %s',
    (_, command) => {
      let text = '';
      command.configureOutput({
        ...command.configureOutput(),
        writeOut: (part) => (text += wrapped(part, 80)),
      });
      command.outputHelp();
      // A command to copy stays on one line.
      const isExample = (line: string) => /^ {2}(waylog|curl) /.test(line);
      expect(text.split('\n').filter((line) => line.length > 80 && !isExample(line))).toEqual([]);
    },
  );
});

describe('a wrapped help', () => {
  it('fills paragraphs, and leaves what is indented as it is', () => {
    const text = 'Usage: x\n\none two three four\nfive six\n  an example that is long enough\n\nend\n';
    expect(wrapped(text, 12)).toBe(
      'Usage: x\n\none two\nthree four\nfive six\n  an example that is long enough\n\nend\n',
    );
  });
});
