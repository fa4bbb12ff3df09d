/** Asks a disk server to leave out what has not changed since the parent, and learns which drives it reads as a whole, and why. */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import { clusterCount } from '../../core/geometry.ts'
import type { BoundStage } from '../../core/stage.ts'
import type { Parent } from '../../stages/change-filter/parent.ts'
import { CHANGE_FILTER } from '../../stages/change-filter.ts'
import type { BackupWish, ControlClient } from '../control/client.ts'

/** Milliseconds between two looks whether the point in time has come. */
const LOOK_MS = 20

export interface Comparison {
  wish: Pick<BackupWish, 'since' | 'whole'>
  /** After the point in time of this backup: by drive, why all of it is read. */
  reasons(uuid: string, signal: AbortSignal): Promise<Record<string, string>>
}

/** `names` of the drives; all unless given. */
export async function comparisonWith(
  client: ControlClient,
  parent: Parent,
  names: readonly string[] | undefined,
  signal?: AbortSignal,
): Promise<Comparison> {
  const { drives } = await client.status(signal)
  const chosen = drives.filter(({ name }) => names?.includes(name) !== false)
  if (drives.some(({ tracked }) => tracked === undefined)) {
    const all = 'the service is of an older version, which does not track changes'
    return { wish: {}, reasons: async () => Object.fromEntries(chosen.map(({ name }) => [name, all])) }
  }
  const whole = chosen
    .filter(({ name, size }) => parent.drive(name)?.clusters !== clusterCount(size))
    .map(({ name }) => name)
  const since = uuidText(parent.record.uuid)
  return { wish: { since, whole }, reasons: async (uuid, within) => reasonsOf(client, { uuid, since }, within) }
}

/** The stages, in which the one that drops unchanged clusters knows why drives were read as a whole. */
export function withReasons(rest: readonly BoundStage[], whole: Readonly<Record<string, string>>): BoundStage[] {
  return rest.map((stage) => {
    if (stage.definition.name !== CHANGE_FILTER) return stage
    return { ...stage, options: { ...(stage.options as object), whole } }
  })
}

async function reasonsOf(
  client: ControlClient,
  { uuid, since }: { uuid: string; since: string },
  signal: AbortSignal,
): Promise<Record<string, string>> {
  for (;;) {
    const { backup, last } = await client.status(signal)
    const status = [backup, last?.status].find((status) => status?.uuid === uuid)
    // Given up before its point in time: whoever reads it gets the error.
    if (!status || (status.parent === undefined && backup === null)) return {}
    if (status.parent === undefined) {
      await sleep(LOOK_MS, undefined, { signal })
      continue
    }
    if (status.parent.uuid !== since)
      throw new VmapipeError('FAILED', 'the service compares the drives with another parent')
    const entries = Object.entries(status.parent.drives)
    return Object.fromEntries(entries.flatMap(([name, used]) => ('all' in used ? [[name, used.all]] : [])))
  }
}

/** In the usual groups of hexadecimal digits. */
function uuidText(uuid: Uint8Array): string {
  const [, ...groups] = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/.exec(Buffer.from(uuid).toString('hex'))!
  return groups.join('-')
}
