import { Command } from 'commander';
import { createPool } from '#lib/platform';
import { databaseStatus, databaseUp } from '#lib/timescale';
import { databaseOptions, eventStoreOf, print } from '../context.js';
import { checkDatabase, checkFiles, checkKeys, checkMachine, checkRoles, type Finding } from '../doctor.js';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Check the machine, the configuration and the database, and say what to do.')
    .addHelpText(
      'after',
      `
Nothing is changed, started or migrated. Looked at are: Node.js, the variables, room on the disk; roles and encryption of
the connection; keys; edition, jobs of TimescaleDB, schema, durability, connections and clock of the database; transactions that are open for
long; projections and integrity.

Exit codes: 0 all is well, or only warnings; 1 there is a problem.`,
    )
    .action(async (_options, command: Command) => {
      const options = databaseOptions(command);
      const findings: Finding[] = [...(await checkMachine(options.env, options.root))];
      const status = await databaseStatus(options);
      if (status.running) {
        // It runs, so this starts nothing: it only returns where.
        const { url } = await databaseUp(options);
        findings.push({ check: 'database', level: 'ok', what: `answers (${status.source ?? 'url'})` });
        const { access, findings: ofRoles } = await checkRoles(url);
        findings.push(...ofRoles);
        // The role that keeps the tables can see what other sessions do.
        const pool = createPool({
          connectionString: access?.projector.url ?? url,
          size: 2,
          applicationName: 'waylog doctor',
          statementTimeoutMs: 10_000,
          connectTimeoutMs: 5_000,
        });
        try {
          const ofDatabase = await checkDatabase(
            { pool, url, appUrl: access?.app.url ?? url, eventStore: eventStoreOf(command) },
            options.env,
          );
          findings.push(...ofDatabase);
          if (ofDatabase.some(({ check, level }) => check === 'schema' && level === 'ok'))
            findings.push(
              ...(await checkKeys(access?.app.url ?? url, options.env)),
              ...(await checkFiles(url, eventStoreOf(command), options.env)),
            );
        } finally {
          await pool.end();
        }
      } else {
        findings.push({
          check: 'database',
          level: 'problem',
          what: `${options.env['DATABASE_URL'] ? 'cannot be used' : 'does not run'}${status.trouble ? `: ${status.trouble}` : ''}`,
          remedy: options.env['DATABASE_URL']
            ? 'See that the server at DATABASE_URL runs, lets you in, and is as the reason asks.'
            : 'waylog db up',
        });
      }
      const problems = findings.filter(({ level }) => level === 'problem').length;
      print(command, { findings, problems }, findings.map(lineOf).join('\n'));
      if (problems > 0) process.exitCode = 1;
    });
}

const signs = { ok: 'ok      ', warning: 'WARNING ', problem: 'PROBLEM ' };

const lineOf = ({ check, level, what, remedy }: Finding): string =>
  `${signs[level]} ${check.padEnd(13)} ${what}` + (remedy ? `\n${' '.repeat(23)} -> ${remedy}` : '');
