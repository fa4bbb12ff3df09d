/**
 * Tells whether anything but this service may have written to an image since the service had it. Only a file on a local filesystem can
 * tell: every write sets its times. A block device and another server tell nothing.
 */

import type { DiskIdentity } from '../../storage/disk.ts'

/** What is known about the last time that the service had the image. */
export interface LastUse {
  /** The image as it was when the service closed it in good order; as it was opened, if it never came to that. */
  image: DiskIdentity | null
  closed: boolean
  /** Of the system that ran then. */
  boot: string
  /** Milliseconds since the epoch: after this the service did not write. `killed` if only the process ended, `failed` if the power did. */
  until: { killed: number; failed: number }
}

/** The present. */
export interface Now {
  image: DiskIdentity | null
  boot: string
  /** Milliseconds since the epoch. */
  time: number
  /** When the system started, in milliseconds since the epoch. */
  booted: number
}

const NANOSECONDS = 1_000_000n
/** The clock of times of files may be this many milliseconds behind. */
export const TICK = 20

/** Why what was tracked cannot be believed; null if it can. */
export function whyForeign(last: LastUse, now: Now): string | null {
  if (last.image === null || now.image === null)
    return 'the drive is not a file on a local filesystem, so nothing tells whether it was written while no service had it'
  const { device, inode, size } = last.image
  if (device !== now.image.device || inode !== now.image.inode) return 'the image was replaced by another file'
  if (size !== now.image.size) return 'the image was resized'
  if (last.closed) {
    const same = last.image.mtime === now.image.mtime && last.image.ctime === now.image.ctime
    return same ? null : 'the image was changed while no service had it'
  }
  return whyForeignAfterCrash(last, { ...now, image: now.image })
}

function whyForeignAfterCrash(
  last: LastUse,
  { image, boot, time, booted }: Now & { image: DiskIdentity },
): string | null {
  const times = [BigInt(image.mtime), BigInt(image.ctime)]
  const newest = Number((times[0] > times[1] ? times[0] : times[1]) / NANOSECONDS)
  const sameBoot = last.boot === boot
  const until = sameBoot ? last.until.killed : last.until.failed
  if (time + TICK < newest || time < Math.min(last.until.killed, last.until.failed) - 1000)
    return 'the clock of this system was set back'
  // A snapshot that is older than what the service had opened.
  if (times[0] < BigInt(last.image!.mtime) || times[1] < BigInt(last.image!.ctime))
    return 'the image is older than it was'
  // Nothing was written since it was opened.
  if (times[0] === BigInt(last.image!.mtime) && times[1] === BigInt(last.image!.ctime)) return null
  if (newest > until) return 'the service ended without closing the image, which was written after that, or about then'
  if (!sameBoot && newest >= booted) return 'the image was written after this system had started'
  return null
}
