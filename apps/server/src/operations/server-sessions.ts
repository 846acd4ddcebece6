import type { Config } from '#lib/platform';

/** The names of this server's sessions, which distinguish them from those of other servers on the same database. */
export class ServerSessions {
  constructor(
    readonly config: Config,
    /** The prefix of the application_name of every session. */
    readonly name: string,
  ) {}
}
