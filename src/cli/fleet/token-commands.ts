/** `vmapipe fleet token`: who may talk to the planner. */

import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { collect, common, examples } from '../flags.ts'
import { print } from '../text.ts'
import { json } from './look-commands.ts'
import { type PlannerFlags, plannerFlags, withPlanner } from './planner-flags.ts'

interface NewFlags extends PlannerFlags {
  guests?: string[]
  person?: boolean
  out?: string
  force?: boolean
}

export function tokenCommands(fleet: Command): void {
  const token = fleet
    .command('token')
    .summary('tokens of hosts and people')
    .description(
      'Each host has a token of its own, by which the planner knows it. Only its hash is kept, so it is shown once.',
    )
  examples(common(token), 'vmapipe fleet token new rack2-01 --out rack2-01.token', 'vmapipe fleet token list')

  const make = token
    .command('new')
    .summary('make a token')
    .description(
      'Makes a token for the agent of a host, or with --person for someone who uses `vmapipe fleet` or the API from elsewhere. It is printed once, or written to a file ' +
        'that only its owner may read.',
    )
    .argument('<name>', 'the host, or the name of the person')
    .option(
      '--guests <pattern>',
      'the host may only claim guests of such names, such as web-*; any number of times',
      collect,
    )
    .option('--person', 'for a person, who may do everything that the owner of the planner may')
    .option('--out <file>', 'write it to this file (mode 0600) instead of printing it')
    .option('-f, --force', 'replace the file')
    .action((name: string, flags: NewFlags) => newToken(name, flags))
  examples(
    plannerFlags(make),
    'vmapipe fleet token new rack2-01 --out rack2-01.token',
    "vmapipe fleet token new rack2-01 --guests 'web-*' --guests 'db-*'",
    'vmapipe fleet token new ada --person --out ~/fleet.token',
  )

  const list = token
    .command('list')
    .summary('the tokens, and when they were used')
    .option('--json', 'as JSON')
    .action((flags: PlannerFlags & { json?: boolean }) =>
      withPlanner(flags, async (planner) => {
        const rows = await planner.list()
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).tokenLines(rows)))
      }),
    )
  examples(plannerFlags(list), 'vmapipe fleet token list')

  const revoke = token
    .command('revoke')
    .summary('make a token invalid')
    .description('The agent is refused from its next request on. What its host does now goes on.')
    .argument('<id>', 'its id, as `fleet token list` shows it')
    .action((id: string, flags: PlannerFlags) =>
      withPlanner(flags, async (planner) => {
        await planner.revoke(id)
        print(`the token ${id} is not valid any more`)
      }),
    )
  examples(plannerFlags(revoke), 'vmapipe fleet token revoke 3q2-7wAB')
}

async function newToken(name: string, flags: NewFlags): Promise<void> {
  const { guests, person, out, force = false } = flags
  if (person && guests !== undefined)
    throw new VmapipeError('USAGE', 'a person claims no guests', { hint: 'leave out --guests or --person' })
  await withPlanner(flags, async (planner) => {
    const { writeSecretFile } = await import('./secret-file.ts')
    // A file that cannot be written is found before there is a token that nobody has.
    const file = out === undefined ? null : await writeSecretFile(out, force)
    try {
      const kind = person ? 'person' : 'agent'
      const { id, text } = await planner.make({ name, kind, ...(guests !== undefined && { guests }) })
      if (file === null) print(text)
      else {
        await file.write(text)
        print(`the token ${id} is in ${out}`)
      }
    } finally {
      await file?.end()
    }
  })
}
