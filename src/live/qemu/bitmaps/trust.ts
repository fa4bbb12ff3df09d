/**
 * Decides whether a dirty bitmap tells all that was written to a drive since the parent. If that is not certain, the drive is read as
 * a whole and compared by hash, which costs time and nothing else. README.md of src/live/qemu has what QEMU was seen to do.
 */

import { CLUSTER_SIZE, clusterCount } from '../../../core/geometry.ts'
import type { QemuDrive } from '../inventory/discovery.ts'
import type { DirtyBitmap } from './found.ts'
import { digestOf, endName, isSince, keyOf } from './names.ts'

/** The archive that is compared with. */
export interface BitmapParent {
  /** 32 hexadecimal digits. */
  uuid: string
  /** How many clusters each of its drives had, by name. */
  clusters: Readonly<Record<string, number>>
}

/** The bitmaps to use, or why none can be used. */
export type Trust = { since: string; end: string } | { reason: string }

/** Nodes that see every write to their image: no filter, and no format whose snapshots QEMU does not guard. */
const FORMATS = new Set(['qcow2', 'raw', 'file', 'host_device'])
/** A file name of QEMU for what is not a local file or block device: nbd://…, json:{…}, rbd:… */
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/

type Drive = Pick<QemuDrive, 'name' | 'node' | 'size' | 'driver' | 'chain' | 'hasDataFile' | 'shared'>

/** Why no bitmap can tell what was written to this drive; null if one can. */
export function obstacleTo({ driver, chain, shared }: Drive): string | null {
  if (shared) return 'others than this guest may write to it (share-rw=on)'
  if (!FORMATS.has(driver)) return `its node is a ${driver}, which does not see every change of its image`
  const far = chain.length === 0 ? 'no file' : chain.map(fileOf).find((file) => file === '' || SCHEME.test(file))
  return far === undefined ? null : 'its image is not a local file or block device, and may change without QEMU'
}

/** Whether a bitmap may be kept in the image. Not with other files below it, which may change while QEMU does not run. */
export function mayPersist({ driver, chain, hasDataFile }: Drive): boolean {
  return driver === 'qcow2' && chain.length === 1 && !hasDataFile
}

/** `children`: the nodes right below that of the drive. They are part of the seal of what ends with this QEMU. */
export function sealOf(drive: Drive, children: readonly string[]): string {
  const below = mayPersist(drive) ? [] : children
  return digestOf(drive.name, drive.driver, ...drive.chain, '', ...below)
}

export function trustIn(drive: Drive, seal: string, parent: BitmapParent, found: readonly DirtyBitmap[]): Trust {
  const { name, node, size } = drive
  const before = Object.hasOwn(parent.clusters, name) ? parent.clusters[name] : null
  if (before === null) return { reason: 'the parent does not have it' }
  if (before !== clusterCount(size)) return { reason: 'it was resized since the parent was made' }
  const obstacle = obstacleTo(drive)
  if (obstacle !== null) return { reason: obstacle }
  const here = found.filter((bitmap) => bitmap.node === node)
  const ours = here.filter((bitmap) => isSince(bitmap.name) && keyOf(bitmap.name)!.uuid === parent.uuid)
  if (ours.length === 0) return { reason: MISSING }
  const [since] = ours.filter((bitmap) => keyOf(bitmap.name)!.seal === seal)
  if (since === undefined) return { reason: MOVED }
  const end = here.find((bitmap) => bitmap.name === endName(keyOf(since.name)!))
  const reason = faultOf(since, end)
  return reason === null ? { since: since.name, end: end!.name } : { reason }
}

const MISSING =
  'QEMU has no bitmap that begins at the parent: none was made, somebody removed it, it ended with its QEMU or in a migration, or the drive has another image now'
const MOVED = 'the bitmap that begins at the parent is of another image, or of another drive or backing chain'

/** Why this pair of bitmaps cannot be trusted. */
export function faultOf(since: DirtyBitmap | undefined, end: DirtyBitmap | undefined): string | null {
  if (since === undefined) return 'its bitmap has been removed'
  if (since.inconsistent) return 'QEMU was killed, and with it the bitmap lost track'
  if (since.busy) return 'its bitmap is in use by something else in QEMU'
  if (!since.recording) return 'somebody has disabled its bitmap'
  if (since.granularity !== CLUSTER_SIZE) return `its bitmap has a granularity of ${since.granularity} bytes`
  // A drive that becomes smaller, and then larger again, reads as zeroes at its end, and no bitmap tells.
  if (end === undefined || end.inconsistent || end.recording || end.count !== CLUSTER_SIZE)
    return 'it was made smaller at some time, or the bitmap that tells that is gone'
  return null
}

function fileOf(image: string): string {
  return image.slice(image.indexOf(' ') + 1)
}
