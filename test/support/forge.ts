/** VMA archives as nobody should make them: whole and well-formed but for what a test changes. */

import { hash } from 'node:crypto'
import { CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { type ConfigFile, type DriveInfo, Manifest } from '../../src/core/items.ts'
import { EXTENT_HEADER_SIZE, ExtentHeaderWriter } from '../../src/formats/vma/extent.ts'
import { encodeHeader } from '../../src/formats/vma/header.ts'

export const UUID = Buffer.alloc(16, 7)

export interface ForgedSlot {
  drive: number
  cluster: number
  mask: number
}

export interface Forgery {
  uuid?: Buffer
  drives?: DriveInfo[]
  configs?: ConfigFile[]
  /** Slots of each extent; every cluster of every drive once, in order, unless given. */
  extents?: ForgedSlot[][]
  /** Changes the header; its checksum is made right afterwards. */
  header?: (header: Buffer) => void
  /** Changes a header of an extent; its checksum is made right afterwards. */
  extent?: (header: Buffer, index: number) => void
}

export const DRIVE: DriveInfo = { id: 1, name: 'd', size: 2 * CLUSTER_SIZE }

/** The archive. Stored blocks hold 0x5a. */
export function forge({ uuid = UUID, drives = [DRIVE], configs = [], extents, header, extent }: Forgery = {}): Buffer {
  const head = encodeHeader(new Manifest({ uuid, ctime: 1700000000, configs, drives }))
  if (header !== undefined) {
    header(head)
    sign(head, 32)
  }
  const parts = [head]
  for (const [index, slots] of (extents ?? [allSlots(drives)]).entries()) {
    const writer = new ExtentHeaderWriter(uuid)
    for (const { drive, cluster, mask } of slots) writer.add(drive, cluster, mask)
    const bytes = writer.finish()
    const blocks = bytes.readUInt16BE(6)
    if (extent !== undefined) {
      extent(bytes, index)
      sign(bytes.subarray(0, EXTENT_HEADER_SIZE), 24)
    }
    parts.push(bytes, Buffer.alloc(blocks * 4096, 0x5a))
  }
  return Buffer.concat(parts)
}

export function allSlots(drives: DriveInfo[]): ForgedSlot[] {
  return drives.flatMap(({ id, size }) =>
    Array.from({ length: clusterCount(size) }, (_, cluster) => ({ drive: id, cluster, mask: 1 })),
  )
}

function sign(bytes: Buffer, at: number): void {
  bytes.fill(0, at, at + 16)
  bytes.set(hash('md5', bytes, 'buffer'), at)
}
