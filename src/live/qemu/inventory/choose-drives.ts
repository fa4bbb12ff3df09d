/** `--drive NAME[=NODE]` against what the guest has. */

import { VmapipeError } from '../../../core/errors.ts'
import type { Inventory, QemuDrive } from './discovery.ts'

/** NAME and NODE; NODE empty: the drive is found by NAME, and keeps the name it has by default. */
export type DriveWish = readonly [name: string, node: string]

/**
 * The drives that a backup is about, with their names in the archive. Without wishes, all that discovery did not
 * leave out. A drive is found by its default name, device id, node, block backend or QOM path. USAGE if a wish
 * finds nothing, or two find the same; FAILED if the guest has nothing to back up. Drives that are found by `exclude`
 * are left out.
 */
export function chooseDrives(
  inventory: Inventory,
  wishes: readonly DriveWish[] = [],
  exclude: readonly string[] = [],
): QemuDrive[] {
  const excluded = new Set(exclude.map((name) => find(inventory, name).qomPath))
  const chosen = wanted(inventory, wishes).filter(({ qomPath }) => !excluded.has(qomPath))
  if (chosen.length === 0) throw new VmapipeError('USAGE', 'every drive of the guest is left out')
  return chosen
}

function wanted(inventory: Inventory, wishes: readonly DriveWish[]): QemuDrive[] {
  if (wishes.length === 0) {
    if (inventory.drives.length > 0) return inventory.drives
    const hint = inventory.leftOut.map(({ name, reason }) => `${name} ${reason}`).join(', ')
    throw new VmapipeError('FAILED', 'the guest has no drive to back up', { hint: hint || undefined })
  }
  const chosen = wishes.map(([name, node]) => {
    const drive = find(inventory, node || name)
    return node === '' ? drive : { ...drive, name }
  })
  checkDistinct(chosen)
  return chosen
}

function find({ drives, leftOut }: Inventory, wanted: string): QemuDrive {
  const all = [...drives, ...leftOut.flatMap(({ drive }) => drive ?? [])]
  for (const key of ['name', 'id', 'node', 'backend', 'qomPath'] as const) {
    const found = all.find((drive) => drive[key] === wanted)
    if (found !== undefined) return found
  }
  const refused = leftOut.find(({ name }) => name === wanted || name === `drive-${wanted}`)
  if (refused) throw new VmapipeError('USAGE', `the drive ${refused.name} ${refused.reason}`)
  throw new VmapipeError('USAGE', `the guest has no drive '${wanted}'`, {
    hint: all.length > 0 ? `it has ${all.map(({ name }) => name).join(', ')}` : undefined,
  })
}

function checkDistinct(chosen: readonly QemuDrive[]): void {
  for (const [i, { name, qomPath }] of chosen.entries()) {
    const before = chosen.slice(0, i)
    if (before.some((other) => other.qomPath === qomPath))
      throw new VmapipeError('USAGE', `the drive ${name} is chosen twice`)
    if (before.some((other) => other.name === name))
      throw new VmapipeError('USAGE', `two drives would be called ${name} in the archive`)
  }
}
