/** The formats of images that are restored into a folder: those that the guest had in Proxmox, if the archive says so. */

import type { Manifest } from '../../core/items.ts'
import { PROXMOX_CONFIG } from '../../machine/proxmox/config.ts'
import { mapLinesIn } from '../../machine/proxmox/map-lines.ts'
import { findProgram } from '../../system/child.ts'

/** Formats that Proxmox has images in, without raw. */
const KNOWN = ['qcow2', 'vmdk']
/** Images of other formats than raw are made of whole sectors, in bytes. */
const SECTOR = 512

interface Wish {
  /** The format of all images; by default that of the archive's map lines, or raw. */
  format?: string | undefined
  warn: (message: string) => void
}

/** By dev_id, without those that are raw. */
export function imageFormats(
  { drives, configs }: Pick<Manifest, 'drives' | 'configs'>,
  { format, warn }: Wish,
): Map<number, string> {
  const config = configs.findLast(({ name }) => name === PROXMOX_CONFIG)
  const map = config === undefined ? [] : mapLinesIn(Buffer.from(config.data).toString())
  const had = (name: string) => map.find(({ drive }) => drive === name)?.format ?? 'raw'
  const formats = drives.flatMap(({ id, name, size }) => {
    const wanted = name === 'vmstate' ? 'raw' : (format ?? had(name))
    if (wanted === 'raw') return []
    // Who has named a format gets it, or an error.
    return format !== undefined || (KNOWN.includes(wanted) && size % SECTOR === 0) ? [[id, wanted] as const] : []
  })
  if (formats.length === 0 || format !== undefined || findProgram('qemu-nbd') !== undefined) return new Map(formats)
  warn('images that were qcow2 or vmdk are restored as raw ones: qemu-nbd is not installed (Debian: qemu-utils)')
  return new Map()
}
