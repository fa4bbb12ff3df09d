/** `vmapipe fleet job`: jobs that live with the planner, for hosts with certain labels. */

import { basename } from 'node:path'
import type { Command } from 'commander'
import { common, examples } from '../flags.ts'
import { print } from '../text.ts'
import { json } from './look-commands.ts'
import { type PlannerFlags, plannerFlags, withPlanner } from './planner-flags.ts'

export function centralCommands(fleet: Command): void {
  const job = fleet
    .command('job')
    .summary('jobs that live with the planner')
    .description(
      'A central job is a job file with `hosts: [LABEL]`: each host that was joined with one of these labels has it. It runs nothing and names no file of a host: no hooks, pipelines, ' +
        'keys, notifications or images at rest. A host takes it only to places of its own job files, and to those that it was joined with (--allow-place).',
    )
  examples(common(job), 'vmapipe fleet job put nightly.yaml', 'vmapipe fleet job list')

  const put = job
    .command('put')
    .summary('add a central job, or replace it')
    .description('The job has the name of the file. It is checked first, and again by each host.')
    .argument('<file>', 'the job file')
    .action((file: string, flags: PlannerFlags) =>
      withPlanner(flags, async (planner) => {
        const { name, text, hosts } = await readCentral(file)
        await planner.putCentralJob(name, text)
        print(
          `the job '${name}' is for hosts with ${hosts.length === 1 ? 'the label' : 'one of the labels'} ${hosts.join(', ')}`,
        )
      }),
    )
  examples(plannerFlags(put), 'vmapipe fleet job put nightly.yaml')

  const list = job
    .command('list')
    .summary('the central jobs, and the hosts that have them')
    .option('--json', 'as JSON, with their texts')
    .action((flags: PlannerFlags & { json?: boolean }) =>
      withPlanner(flags, async (planner) => {
        const rows = await planner.centralJobs()
        print(...(flags.json ? [json(rows)] : (await import('./views.ts')).centralLines(rows)))
      }),
    )
  examples(plannerFlags(list), 'vmapipe fleet job list')

  const remove = job
    .command('remove')
    .summary('take a central job away from all hosts')
    .argument('<name>', 'its name')
    .action((name: string, flags: PlannerFlags) =>
      withPlanner(flags, async (planner) => {
        await planner.removeCentralJob(name)
        print(`the central job '${name}' is removed; its archives stay`)
      }),
    )
  examples(plannerFlags(remove), 'vmapipe fleet job remove nightly')
}

const MOST_BYTES = 256 << 10

async function readCentral(file: string): Promise<{ name: string; text: string; hosts: string[] }> {
  const { describe, VmapipeError } = await import('../../core/errors.ts')
  const { readSmallFile } = await import('../../storage/config-file.ts')
  const { checkCentralJob } = await import('../../fleet/central/rules.ts')
  const bytes = await readSmallFile(file, MOST_BYTES).catch((cause) => {
    throw new VmapipeError('CONFIG', `cannot read the job file: ${describe(cause)}`, { file, cause })
  })
  if (bytes.length > MOST_BYTES) throw new VmapipeError('CONFIG', 'larger than 256 KiB, this is no job file', { file })
  const text = bytes.toString()
  const name = basename(file).replace(/\.(ya?ml|json)$/, '')
  return { name, text, hosts: checkCentralJob(name, text).hosts }
}
