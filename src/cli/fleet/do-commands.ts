/** Commands of `vmapipe fleet` that ask the planner to do something. */

import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { collect, examples } from '../flags.ts'
import { count, listing, print } from '../text.ts'
import { type PlannerFlags, plannerFlags, withPlanner } from './planner-flags.ts'

export function doCommands(fleet: Command): void {
  const start = fleet
    .command('start')
    .summary('begin a job now')
    .description(
      'Asks for backups of the guests of a job as soon as the limits let them; the window of the job does not count. Prints the ids of the works, ' +
        'by which `fleet works` and `fleet cancel` know them.',
    )
    .argument('<job>', 'the name of the job')
    .option('--host <host>', 'on this host only; by default on all that have the job')
    .option('-g, --guest <name>', 'this guest only; any number of times', collect)
    .option('--full', 'full archives, whatever the job says')
    .action((job: string, flags: PlannerFlags & { host?: string; guest?: string[]; full?: boolean }) =>
      withPlanner(flags, async (planner) => {
        const { host, guest, full } = flags
        const works = await planner.start({
          job,
          ...(host !== undefined && { host }),
          ...(guest !== undefined && { guests: guest }),
          ...(full && { full }),
        })
        print(...works)
      }),
    )
  examples(
    plannerFlags(start),
    'vmapipe fleet start nightly --guest web01',
    'vmapipe fleet start nightly --host rack2-01 --full',
  )

  const verify = fleet
    .command('verify')
    .summary('have an archive read by its host')
    .description(
      'Asks a host to read an archive, or the newest one of a guest, and to say whether it is whole. The data stays on the host. Prints the id of the work; `fleet works` shows what came of it.',
    )
    .argument('[archive]', 'as `fleet archives` shows it')
    .option('-g, --guest <name>', 'the newest archive of this guest')
    .option('--host <host>', 'on this host; by default on that of the guest')
    .option('--boot', 'boot the guest of the archive too')
    .action((archive: string | undefined, flags: PlannerFlags & { guest?: string; host?: string; boot?: boolean }) =>
      withPlanner(flags, async (planner) => {
        const { host, guest, boot } = flags
        const { chosenArchive } = await import('./chosen-archive.ts')
        const chosen = await chosenArchive(planner, { archive, guest, host })
        print(await planner.verify({ ...chosen, ...(boot && { boot }) }))
      }),
    )
  examples(
    plannerFlags(verify),
    'vmapipe fleet verify --guest web01 --boot',
    'vmapipe fleet verify /mnt/nas/web01/web01-2026-11-28T013000Z.vma.zst',
  )

  const prune = fleet
    .command('prune')
    .summary('remove archives as a job says')
    .description(
      'Asks hosts to remove the archives that a job need not keep, by the rules of the job itself (`keep`). Prints the ids of the works.',
    )
    .argument('<job>', 'the name of the job')
    .option('-g, --guest <name>', 'archives of this guest only')
    .option('--host <host>', 'on this host only; by default on all that have the job')
    .action((job: string, flags: PlannerFlags & { guest?: string; host?: string }) =>
      withPlanner(flags, async (planner) => {
        const { guest, host } = flags
        const hosts = (await planner.jobs()).filter(
          (one) =>
            one.name === job &&
            (host === undefined || one.host === host) &&
            (guest === undefined || one.guests.includes(guest)),
        )
        if (hosts.length === 0) {
          const what = `job '${printable(job)}'${guest === undefined ? '' : ` with the guest '${printable(guest)}'`}`
          throw new VmapipeError(
            'USAGE',
            `${host === undefined ? 'no host has' : `'${printable(host)}' does not have`} a ${what}`,
          )
        }
        for (const { host } of hosts) print(await planner.prune({ host, job, ...(guest !== undefined && { guest }) }))
      }),
    )
  examples(
    plannerFlags(prune),
    'vmapipe fleet prune nightly',
    'vmapipe fleet prune nightly --host rack2-01 --guest web01',
  )

  const cancel = fleet
    .command('cancel')
    .summary('end works; their guests are free within two seconds')
    .argument('<works...>', 'ids, as `fleet status` and `fleet works` show them')
    .option('--reason <text>', 'why, for the history', 'canceled by hand')
    .action((works: string[], flags: PlannerFlags & { reason: string }) =>
      withPlanner(flags, async (planner) => {
        for (const work of works) await planner.cancel(work, flags.reason)
        print(`${count(works.length, 'work')} canceled`)
      }),
    )
  examples(plannerFlags(cancel), 'vmapipe fleet cancel 4f1c2a')

  const drain = fleet
    .command('drain')
    .summary('give a host no more work')
    .description('What the host does now goes on to its end. New work is kept from it until --undo.')
    .argument('<host>', 'the host')
    .option('--undo', 'give it work again')
    .action((host: string, flags: PlannerFlags & { undo?: boolean }) =>
      withPlanner(flags, async (planner) => {
        await planner.drain(host, !flags.undo)
        print(flags.undo ? `${host} gets work again` : `${host} gets no more work`)
      }),
    )
  examples(plannerFlags(drain), 'vmapipe fleet drain rack2-01', 'vmapipe fleet drain rack2-01 --undo')

  const forget = fleet
    .command('forget')
    .summary('forget a host that is gone for good')
    .description(
      'Forgets a host, its guests and its jobs. Its archives stay where they are. Its token stays valid until it is revoked: a host that comes back is known again.',
    )
    .argument('<host>', 'the host')
    .action((host: string, flags: PlannerFlags) =>
      withPlanner(flags, async (planner) => {
        await planner.forgetHost(host)
        print(`${host} is forgotten`)
      }),
    )
  examples(plannerFlags(forget), 'vmapipe fleet forget rack2-01')

  const rescan = fleet
    .command('rescan')
    .summary('ask all hosts again what they have')
    .description(
      'Asks every host for its guests and for the archives at its places, and forgets what no place has. The places have the truth, so this is ' +
        'how a planner with an empty database learns all of it again.',
    )
    .action((flags: PlannerFlags) =>
      withPlanner(flags, async (planner) => {
        await planner.rescan()
        const up = (await planner.hosts()).filter(({ state }) => state === 'up' || state === 'drained')
        print(
          up.length === 0
            ? 'no host is there to be asked; they are when they are back'
            : `asked: ${listing(up.map(({ host }) => host))}`,
        )
      }),
    )
  examples(plannerFlags(rescan), 'vmapipe fleet rescan')
}
