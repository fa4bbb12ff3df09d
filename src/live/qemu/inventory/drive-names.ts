/**
 * The names of a guest's drives in an archive: `drive-` and the qdev id, as Proxmox does. Without an id it is the name by which QEMU
 * knows the drive.
 */

import { driveNameOf } from '../../../machine/drive-name.ts'

export interface Named {
  id: string | null
  backend: string
  node: string | null
  qomPath: string | null
}

/** The name for one drive by itself. */
export function driveName({ id, backend, node, qomPath }: Named): string {
  // The board's own flash: /machine/system.flash1
  const flash = /^\/machine\/system\.(flash\d+)$/.exec(qomPath ?? '')?.[1]
  // Names that QEMU made up begin with #, and are others at the next start.
  const chosenNode = node?.startsWith('#') ? null : node
  const known = id || backend || (flash && `p${flash}`) || chosenNode || 'disk'
  return driveNameOf(known)
}

/** Names for all drives, no two alike. Drives with an id come first, then `drive-disk`, `drive-disk-2`, … */
export function distinctNames(drives: readonly Named[]): string[] {
  const taken = new Set<string>()
  const names = new Map<Named, string>()
  for (const drive of [...drives].sort((a, b) => Number(a.id === null) - Number(b.id === null))) {
    const name = driveName(drive)
    let distinct = name
    for (let n = 2; taken.has(distinct); n++) distinct = `${name}-${n}`
    taken.add(distinct)
    names.set(drive, distinct)
  }
  return drives.map((drive) => names.get(drive)!)
}
