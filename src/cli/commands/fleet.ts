/** `vmapipe fleet`: many hosts, a planner that knows them all, and an agent on each. */

import type { Command } from 'commander'
import { common, examples } from '../flags.ts'
import { centralCommands } from '../fleet/central-commands.ts'
import { doCommands } from '../fleet/do-commands.ts'
import { lookCommands } from '../fleet/look-commands.ts'
import { serveCommand } from '../fleet/serve-command.ts'
import { tokenCommands } from '../fleet/token-commands.ts'
import { joinCommand } from './fleet-join.ts'

export function fleetCommand(program: Command): void {
  const fleet = program
    .command('fleet')
    .summary('plan the backups of many hosts')
    .description(
      'One host is the planner: it knows the guests, jobs and limits of all hosts, and says when each guest is backed up. On each other host an ' +
        'agent runs, which only connects outwards. If the planner is away, each host goes on with its own jobs.\n\n' +
        'Commands ask the planner of this user on this host, or one elsewhere that --url names.',
    )
  examples(
    common(fleet),
    'vmapipe fleet serve',
    'vmapipe fleet token new rack2-01 --out rack2-01.token',
    'vmapipe fleet join https://planner:8460 --token-file rack2-01.token',
    'vmapipe fleet status',
  )
  serveCommand(fleet)
  joinCommand(fleet)
  lookCommands(fleet)
  doCommands(fleet)
  tokenCommands(fleet)
  centralCommands(fleet)
}
