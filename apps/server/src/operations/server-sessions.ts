import type { Config } from '#lib/platform';

/** What this server calls its sessions, so that it knows them from those of other servers on the same database. */
export class ServerSessions {
  constructor(
    readonly config: Config,
    /** Begins the application_name of every session. */
    readonly name: string,
  ) {}
}
