import type { INestApplicationContext } from '@nestjs/common';
import type { Command } from 'commander';

/** Wrong use of the command line: it ends with exit code 2 and how to do it right. */
export class UsageError extends Error {}

/** What the commands of a context on the command line are given. */
export interface CliTools {
  /** Runs `work` in a Waylog of this process; its projector helps when no server leads. */
  readonly withWaylog: <T>(
    command: Command,
    work: (app: INestApplicationContext) => Promise<T>,
  ) => Promise<T>;
  /** The result of a command: JSON for programs, or the text made for people. */
  readonly print: (command: Command, result: object, text: string) => void;
  /** A line for people that is no result. */
  readonly say: (line: string) => void;
  /** Runs `work`, and shows how much of `total` is done. */
  readonly withProgress: <T>(
    doing: string,
    total: number,
    work: (update: (done: number) => void) => Promise<T>,
  ) => Promise<T>;
  /** Who works with the command line, for what remembers who did it. */
  readonly operator: () => string;
}

/** The commands of a context on the command line, such as `waylog import`. */
export interface ContextCli {
  readonly commands: (tools: CliTools) => readonly Command[];
}
