/** Names of archives as Proxmox gives and finds them: `vzdump-qemu-100-2026_11_28-21_35_00.vma.zst`, and the files beside them. */

import { VmapipeError } from '../../core/errors.ts'

const NAME = /^(vzdump-qemu-([1-9]\d{2,8})-(\d{4})_(\d\d)_(\d\d)-(\d\d)_(\d\d)_(\d\d))\.vma(?:\.(zst|lzo|gz))?$/
/** What Proxmox can unpack, by our names for it. */
const ENDINGS: Readonly<Record<string, string>> = { none: '', zstd: '.zst', gzip: '.gz' }

export interface ArchiveNameParts {
  vmid: number
  /** The point in time. Proxmox writes the time of the host's zone. */
  time: Date
}

/** The name without `.vma` and what follows it. */
export function vzdumpStem({ vmid, time }: ArchiveNameParts): string {
  const [day, hour] = timeText(time).split(' ')
  return `vzdump-qemu-${vmid}-${day.replaceAll('-', '_')}-${hour.replaceAll(':', '_')}`
}

/** A line of a log begins with it: "2026-11-28 21:35:00", in the time of the host's zone. */
export function timeText(time: Date): string {
  const pad = (value: number) => String(value).padStart(2, '0')
  const day = [time.getFullYear(), time.getMonth() + 1, time.getDate()].map(pad).join('-')
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(pad).join(':')}`
}

/** Throws USAGE for a compression that Proxmox does not know. */
export function vzdumpName(parts: ArchiveNameParts, compression: string): string {
  refuseCompression(compression)
  return `${vzdumpStem(parts)}.vma${ENDINGS[compression]}`
}

export function refuseCompression(compression: string): void {
  if (Object.hasOwn(ENDINGS, compression)) return
  throw new VmapipeError('USAGE', `Proxmox cannot read archives that are compressed with ${compression}`, {
    hint: 'use --compress zstd, gzip or none',
  })
}

/** Reads the name of an archive of Proxmox's; null if it is another name. The time is that of this host's zone. */
export function parseVzdumpName(name: string): (ArchiveNameParts & { stem: string }) | null {
  const [, stem, vmid, ...numbers] = NAME.exec(name) ?? []
  if (stem === undefined) return null
  const [year, month, day, hour, minute, second] = numbers.map(Number)
  return { stem, vmid: Number(vmid), time: new Date(year, month - 1, day, hour, minute, second) }
}

/** Name of the log beside the archive of this name. */
export function logName(name: string): string {
  return `${name.replace(/\.vm[ai](\..*)?$/, '')}.log`
}
