/**
 * What `query-block` tells of one drive (QEMU QMP Reference Manual, BlockInfo and BlockDeviceInfo), checked: it comes
 * from another process.
 */

import { VmapipeError } from '../../../core/errors.ts'
import { isCount, isObject, type Json, textOf } from '../../../protocol/json.ts'

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
  /** The images of the chain, from the drive's own to the last backing file: their formats and files. */
  chain: string[]
  /** A qcow2 image whose data is in another file. */
  hasDataFile: boolean
  /** Throttling that belongs to the device, of `-drive …,iops=…`. */
  throttleGroup: string | null
}

export interface BlockInfo {
  /** Name of the block backend, of `-drive id=…`; empty if it has none. */
  backend: string
  /** Either the device's id or a QOM path; null if it belongs to no device. */
  qdev: string | null
  inserted: Inserted | null
}

/** Drivers that pass through what another node has. */
const FILTERS = new Set([
  ...['throttle', 'copy-on-read', 'copy-before-write', 'compress', 'preallocate'],
  ...['blkdebug', 'blklogwrites', 'blkverify', 'blkreplay'],
])

/** Throws FAILED if the answer makes no sense. */
export function parseBlockInfos(answer: unknown): BlockInfo[] {
  if (!Array.isArray(answer)) throw senseless('no list')
  return answer.map((info: unknown) => {
    const { device, qdev, inserted = null } = isObject(info) ? info : {}
    return {
      backend: textOf(device) ?? '',
      qdev: textOf(qdev) ?? null,
      inserted: inserted === null ? null : parseInserted(isObject(inserted) ? inserted : {}),
    }
  })
}

function parseInserted(inserted: Json): Inserted {
  const node = textOf(inserted['node-name'])
  const size = isObject(inserted.image) ? inserted.image['virtual-size'] : undefined
  if (node === undefined) throw senseless('a drive without a node')
  if (!isCount(size)) throw senseless(`a size of ${JSON.stringify(size)} of the node ${node}`)
  const driver = textOf(inserted.drv) ?? 'unknown'
  return {
    node,
    size,
    readOnly: inserted.ro === true,
    driver,
    format: formatOf(inserted.image, driver),
    file: textOf(inserted.file) ?? '',
    chain: chainOf(inserted.image),
    hasDataFile: hasDataFile(inserted.image),
    throttleGroup: textOf(inserted.group) ?? null,
  }
}

/** Of a filter QEMU tells what it filters as its `backing-image`. */
function formatOf(image: unknown, driver: string): string {
  let format = driver
  for (let below = image; FILTERS.has(format) && isObject(below); below = below['backing-image']) {
    format = textOf(below.format) ?? format
  }
  return format
}

function chainOf(image: unknown): string[] {
  const chain: string[] = []
  for (let at = image; isObject(at); at = at['backing-image']) chain.push(`${textOf(at.format)} ${textOf(at.filename)}`)
  return chain
}

function hasDataFile(image: unknown): boolean {
  const specific = isObject(image) && isObject(image['format-specific']) ? image['format-specific'].data : undefined
  return isObject(specific) && specific['data-file'] !== undefined
}

function senseless(what: string): VmapipeError {
  return new VmapipeError('FAILED', `QEMU's answer to query-block makes no sense: ${what}`)
}
