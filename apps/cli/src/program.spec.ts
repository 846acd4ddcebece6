import type { Command } from 'commander';
import { makeProgram } from './program.js';

const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
const pathOf = (command: Command): string =>
  command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();

describe('the help of the command line', () => {
  const commands = all(makeProgram());

  it('knows every command', () => {
    expect(commands.length).toBeGreaterThan(40);
  });

  it.each(commands.map((command) => [pathOf(command), command] as const))('describes: %s', (_, command) => {
    // A sentence or the better part of one, and no option or argument without a word of its own.
    expect(command.description().length).toBeGreaterThan(10);
    expect(command.options.filter(({ description }) => !description)).toEqual([]);
    expect(
      command.registeredArguments
        .filter(({ description }) => !description)
        .map((argument) => argument.name()),
    ).toEqual([]);
  });
});
