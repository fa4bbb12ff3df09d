/**
 * What `query-block` tells of one drive (QEMU QMP Reference Manual, BlockInfo and BlockDeviceInfo), checked: it comes
 * from another process.
 */

import { VmapipeError } from '../../../core/errors.ts'
import { textOf } from '../../../protocol/json.ts'

/** The medium, and the nodes that make it. */
export interface Inserted {
  /** The root node. */
  node: string
  /** Bytes. */
  size: number
  readOnly: boolean
  driver: string
  /** Format below any filters: raw, qcow2, file, … */
  format: string
  file: string
  /** Throttling that belongs to the device, of `-drive …,iops=…`. */
  throttleGroup: string | null
}

export interface BlockInfo {
  /** Name of the block backend, of `-drive id=…`; empty where it has none. */
  backend: string
  /** Either the device's id or a QOM path; null where it belongs to no device. */
  qdev: string | null
  inserted: Inserted | null
}

/** Drivers that pass through what another node has. */
const FILTERS = new Set([
  ...['throttle', 'copy-on-read', 'copy-before-write', 'compress', 'preallocate'],
  ...['blkdebug', 'blklogwrites', 'blkverify', 'blkreplay'],
])

/** Throws FAILED where the answer makes no sense. */
export function parseBlockInfos(answer: unknown): BlockInfo[] {
  if (!Array.isArray(answer)) throw senseless('no list')
  return answer.map((info) => ({
    backend: textOf(info?.device) ?? '',
    qdev: textOf(info?.qdev) ?? null,
    inserted: info?.inserted == null ? null : parseInserted(info.inserted),
  }))
}

function parseInserted(inserted: any): Inserted {
  const node = textOf(inserted['node-name'])
  const size = inserted.image?.['virtual-size']
  if (node === undefined) throw senseless('a drive without a node')
  if (!Number.isSafeInteger(size) || size < 0) throw senseless(`a size of ${JSON.stringify(size)} of the node ${node}`)
  const driver = textOf(inserted.drv) ?? 'unknown'
  return {
    node,
    size,
    readOnly: inserted.ro === true,
    driver,
    format: formatOf(inserted.image, driver),
    file: textOf(inserted.file) ?? '',
    throttleGroup: textOf(inserted.group) ?? null,
  }
}

/** Of a filter QEMU tells what it filters as its `backing-image`. */
function formatOf(image: any, driver: string): string {
  let format = driver
  for (let below = image; FILTERS.has(format) && below != null; below = below['backing-image']) {
    format = textOf(below.format) ?? format
  }
  return format
}

function senseless(what: string): VmapipeError {
  return new VmapipeError('FAILED', `QEMU's answer to query-block makes no sense: ${what}`)
}
