/** Finds the units that `vmapipe job install` has written and that systemd has active: those of the system, and those of this user. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { MARK, unitNames } from './units.ts'

export interface ActiveUnit {
  job: string
  /** Such as "vmapipe-nightly.timer"; its service if that runs and no timer is active. */
  unit: string
  isUser: boolean
}

const run = promisify(execFile)
/** A manager that does not answer is left out. */
const SYSTEMCTL_MS = 10_000

/** One at most for each job and manager. None on a host without systemd. */
export async function activeUnits(jobs: readonly string[]): Promise<ActiveUnit[]> {
  if (jobs.length === 0) return []
  const found = await Promise.all([false, true].map((isUser) => unitsOfManager(jobs, isUser)))
  return found.flat()
}

async function unitsOfManager(jobs: readonly string[], isUser: boolean): Promise<ActiveUnit[]> {
  const names = jobs.flatMap((job) => Object.values(unitNames(job)))
  const words = [...(isUser ? ['--user'] : []), 'show', '--property=Id,ActiveState,FragmentPath', '--', ...names]
  const told = await run('systemctl', words, { timeout: SYSTEMCTL_MS, maxBuffer: 16 << 20 }).catch(() => null)
  const active = new Set<string>()
  for (const block of told?.stdout.split('\n\n') ?? []) {
    const { Id, ActiveState, FragmentPath } = Object.fromEntries(block.split('\n').map(property))
    // Another program may have a service of such a name, and so may the agent.
    if (/^(active|activating|reloading)$/.test(ActiveState) && (await isOurs(FragmentPath))) active.add(Id)
  }
  return jobs.flatMap((job): ActiveUnit[] => {
    const { timer, service } = unitNames(job)
    const unit = [timer, service].find((name) => active.has(name))
    return unit === undefined ? [] : [{ job, unit, isUser }]
  })
}

function property(line: string): [string, string] {
  const at = line.indexOf('=')
  return [line.slice(0, at), line.slice(at + 1)]
}

async function isOurs(file: string): Promise<boolean> {
  const text = await readFile(file, 'utf8').catch(() => '')
  return text.startsWith(MARK)
}
