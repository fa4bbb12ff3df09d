/**
 * Leaves out what no planner takes, such as a name of 300 letters, and tells it. A message is refused as a whole, so one odd guest or archive would
 * keep all others of the host from the planner.
 */

import type * as z from 'zod'
import { printable } from '../../core/errors.ts'
import { type AgentArchive, agentArchive } from '../messages/events.ts'
import { agentGuest, agentJob, type Inventory } from '../messages/inventory.ts'

const LONGEST_SHOWN = 60

/** Those that fit; a line is added to `warnings` for each of the others. */
export function takeableInventory({ guests, jobs, ...rest }: Inventory, warnings: string[]): Inventory {
  return {
    ...rest,
    guests: takeable(guests, agentGuest, ({ name }) => `the guest '${shown(name)}'`, warnings),
    jobs: takeable(jobs, agentJob, ({ name }) => `the job '${shown(name)}'`, warnings),
  }
}

export function takeableArchives(archives: readonly AgentArchive[], warn: (text: string) => void): AgentArchive[] {
  const warnings: string[] = []
  const taken = takeable(archives, agentArchive, ({ name }) => `the archive '${shown(name)}'`, warnings)
  for (const text of warnings) warn(text)
  return taken
}

function takeable<T>(all: readonly T[], form: z.ZodType, nameOf: (one: T) => string, warnings: string[]): T[] {
  return all.filter((one) => {
    const { error } = form.safeParse(one)
    const [issue] = error?.issues ?? []
    if (issue !== undefined)
      warnings.push(`${nameOf(one)} is not told to the planner, which would not take its ${issue.path.join('.')}`)
    return issue === undefined
  })
}

function shown(name: string): string {
  return printable(name.length > LONGEST_SHOWN ? `${name.slice(0, LONGEST_SHOWN)}…` : name)
}
