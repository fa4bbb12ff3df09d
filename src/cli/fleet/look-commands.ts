/** Commands of `vmapipe fleet` that only look. */

import { type Command, InvalidArgumentError } from 'commander'
import { examples } from '../flags.ts'
import { print } from '../text.ts'
import { type PlannerFlags, plannerFlags, withPlanner } from './planner-flags.ts'

interface ListFlags extends PlannerFlags {
  json?: boolean
}

export function lookCommands(fleet: Command): void {
  const status = fleet
    .command('status')
    .summary('what runs, what waits, and what is wrong')
    .description(
      'Shows the fleet: how many hosts are there, how many guests are protected, what runs, and what each waiting backup waits for.',
    )
    .option('--json', 'as JSON; with --watch a line for each change')
    .option('-w, --watch', 'go on, and show it again when something changes')
    .action(async (flags: ListFlags & { watch?: boolean }) => {
      const { showStatus } = await import('./status.ts')
      await withPlanner(flags, (planner, signal) => showStatus(planner, flags, signal))
    })
  examples(
    plannerFlags(status),
    'vmapipe fleet status',
    'vmapipe fleet status --watch',
    'vmapipe fleet status --json --url https://planner:8460 --token-file ~/fleet.token',
  )

  const hosts = fleet
    .command('hosts')
    .summary('the hosts, and whether they are there')
    .option('--json', 'as JSON')
    .action((flags: ListFlags) =>
      withPlanner(flags, async (planner) => {
        const rows = await planner.hosts()
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).hostLines(rows)))
      }),
    )
  examples(plannerFlags(hosts), 'vmapipe fleet hosts')

  const guests = fleet
    .command('guests')
    .summary('the guests of all hosts, unprotected ones first')
    .description(
      'Lists the guests of all hosts: the unprotected ones first, then those whose last good backup is the oldest.\n\n' +
        'Exit codes: 0 every guest is as protected as its jobs promise, 3 some are not.',
    )
    .option('--host <host>', 'of this host only')
    .option('--json', 'as JSON')
    .action((flags: ListFlags & { host?: string }) =>
      withPlanner(flags, async (planner) => {
        const all = await planner.guests()
        const rows = flags.host === undefined ? all : all.filter(({ host }) => host === flags.host)
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).guestLines(rows)))
        if (rows.some(({ state }) => state !== 'good')) process.exitCode = 3
      }),
    )
  examples(plannerFlags(guests), 'vmapipe fleet guests', 'vmapipe fleet guests --host rack2-01 --json')

  const jobs = fleet
    .command('jobs')
    .summary('the jobs of all hosts, and when they are next')
    .option('--json', 'as JSON')
    .action((flags: ListFlags) =>
      withPlanner(flags, async (planner) => {
        const rows = await planner.jobs()
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).jobLines(rows)))
      }),
    )
  examples(plannerFlags(jobs), 'vmapipe fleet jobs')

  const works = fleet
    .command('works')
    .summary('what was done, the newest first')
    .description('Lists works: what hosts were asked for, such as the backup of one guest, and how it ended.')
    .option('--guest <name>', 'of this guest only')
    .option('--host <host>', 'of this host only')
    .option('--job <job>', 'of this job only')
    .option('--since <time>', 'due from then on, such as 2026-11-28 or 2026-11-28T22:00', time)
    .option('-n, --last <n>', 'so many', many, 40)
    .option('--json', 'as JSON, with the reports of the backups')
    .action((flags: ListFlags & { guest?: string; host?: string; job?: string; since?: string; last: number }) =>
      withPlanner(flags, async (planner) => {
        const { guest, host, job, since, last: most } = flags
        const rows = await planner.works({
          most,
          ...(guest !== undefined && { guest }),
          ...(host !== undefined && { host }),
          ...(job !== undefined && { job }),
          ...(since !== undefined && { since }),
        })
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).workLines(rows)))
      }),
    )
  examples(
    plannerFlags(works),
    'vmapipe fleet works --guest web01',
    'vmapipe fleet works --host rack2-01 --since 2026-11-28',
  )

  const archives = fleet
    .command('archives')
    .summary('the archives of all hosts, the newest first')
    .description('Lists archives, as hosts have told of them. Several hosts may see the archives of one storage.')
    .option('-g, --guest <name>', 'of this guest only')
    .option('--host <host>', 'as this host sees them')
    .option('--json', 'as JSON')
    .action((flags: ListFlags & { guest?: string; host?: string }) =>
      withPlanner(flags, async (planner) => {
        const { guest, host } = flags
        const rows = await planner.archives({
          ...(guest !== undefined && { guest }),
          ...(host !== undefined && { host }),
        })
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).archiveLines(rows)))
      }),
    )
  examples(plannerFlags(archives), 'vmapipe fleet archives --guest web01')
}

export function json(value: unknown): string {
  return JSON.stringify(value, null, 2)
}

function many(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1 || number > 10_000) throw new InvalidArgumentError('from 1 to 10000')
  return number
}

/** In the zone of this host, if none is given. */
function time(text: string): string {
  const at = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(at.getTime()))
    throw new InvalidArgumentError('write it as 2026-11-28 or 2026-11-28T22:00')
  return at.toISOString()
}
