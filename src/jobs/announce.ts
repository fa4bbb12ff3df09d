/** The first line of a backup's log: what is backed up, from where, to where. */

import type { Manifest } from '../core/items.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { formatBytes } from '../core/size.ts'
import { uuidText } from '../formats/vma/uuid.ts'
import { compressionFor, type WritingOptions } from './write-archive.ts'

export interface Announcement extends Pick<RunOptions, 'inform'>, Pick<WritingOptions, 'to' | 'compress'> {
  /** The guest in words, such as "guest web01 (QEMU at /run/vm1.qmp)"; null for drives at rest. */
  guest: string | null
  /** Where each drive is read from, by its name, if that is known. */
  sources?: Record<string, unknown>
}

/** To be called with the manifest, when drives and their sizes are known. */
export function announce({ inform, guest, sources = {}, to, compress }: Announcement): (manifest: Manifest) => void {
  const place = typeof to === 'string' ? to : null
  const compression = compressionFor({ to, compress }).method
  return (manifest) => {
    const drives = manifest.drives.map(({ name, size }) => ({
      name,
      size,
      from: sourceOf(sources, name),
    }))
    const what = drives.map(
      ({ name, size, from }) => `${name} ${formatBytes(size)}${from === null ? '' : ` from ${from}`}`,
    )
    const target = `${place === '-' ? 'standard output' : (place ?? 'a stream')}${compression === 'none' ? '' : ` (${compression})`}`
    inform?.(`backup of ${[guest ?? 'drives at rest', ...what].join(', ')} to ${target}`, {
      backup: { guest, drives, to: place, compression, uuid: uuidText(manifest.uuid) },
    })
  }
}

/** The second line, of a running guest. `since` is in seconds since the epoch. */
export function tellPointInTime(inform: RunOptions['inform'], since: number): void {
  inform?.(`point in time: ${new Date(since * 1000).toISOString()}`, { pointInTime: since })
}

function sourceOf(sources: Record<string, unknown>, name: string): string | null {
  const source = Object.hasOwn(sources, name) ? sources[name] : null
  return typeof source === 'string' ? source : null
}
