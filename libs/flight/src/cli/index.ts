import type { ContextCli } from '#lib/waylog';
import { importCommand } from './import.js';
import { simulateCommand } from './simulate.js';

export const { commands }: ContextCli = {
  commands: (tools) => [importCommand(tools), simulateCommand(tools)],
};
