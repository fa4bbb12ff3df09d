/** The config of a guest as an archive carries it: without what belongs to this host and this moment, and with a map of its drives. */

import type { ProxmoxConfig } from './config.ts'
import { isDriveKey } from './drives.ts'
import { type MapLine, mapLine } from './map-lines.ts'

/** Lines that say something of this host alone: locks, the parent of the current state, disks that are not used. */
const LOCAL = /^(lock:|parent:|unused\d+:)/
/** Lines of a backup. A note that looks like one would be taken for one. */
const OF_BACKUPS = /^#(qmdump|vzdump)#/

interface ArchivedOptions {
  map: readonly MapLine[]
  /** Keys of drives that the archive does not have: a restored guest must not use the disks of the first one. */
  leftOut: readonly string[]
}

/**
 * Makes the config for an archive. A drive that the archive lacks gets `backup=0`, with which `qmrestore` leaves it out.
 */
export function archivedConfig({ lines }: ProxmoxConfig, { map, leftOut }: ArchivedOptions): string {
  const kept = lines.filter(({ text }) => !LOCAL.test(text) && !OF_BACKUPS.test(text))
  const own = kept.map(({ text, key, value }) => {
    if (key === null || !isDriveKey(key) || !leftOut.includes(key)) return text
    return `${key}: ${withoutBackup(value)}`
  })
  return `${[...own, ...map.map(mapLine)].join('\n')}\n`
}

function withoutBackup(value: string): string {
  const others = value.split(',').filter((part) => !/^\s*backup=/.test(part))
  return [...others, 'backup=0'].join(',')
}
