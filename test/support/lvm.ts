/** The beginning of a disk or partition that is a physical volume of LVM, with one logical volume. It is made without root and LVM's tools. */

import { crc32 } from 'node:zlib'

const SECTOR = 512
/** Where LVM puts its metadata, and where what it holds begins. */
const METADATA = 4096
export const LVM_DATA = 1 << 20
const EXTENT = 4 << 20
const HEADER = 512

/** What comes before the logical volume `group`/`volume`, which is at LVM_DATA and has as many whole extents of 4 MiB as fit. */
export function lvmHeader(size: number, group: string, volume: string): { header: Buffer; volumeSize: number } {
  const header = Buffer.alloc(LVM_DATA)
  const extents = Math.floor((size - LVM_DATA) / EXTENT)
  writeLabel(header.subarray(SECTOR, 2 * SECTOR), size)
  const text = Buffer.from(`${metadata(size / SECTOR, extents, group, volume)}\n\0`)
  text.copy(header, METADATA + HEADER)
  writeMetadataHeader(header.subarray(METADATA, METADATA + HEADER), text)
  return { header, volumeSize: extents * EXTENT }
}

function writeLabel(label: Buffer, size: number): void {
  label.write('LABELONE')
  label.writeBigUInt64LE(1n, 8)
  label.writeUInt32LE(32, 20)
  label.write('LVM2 001', 24)
  label.write(id('p').replaceAll('-', ''), 32)
  const places = [size, LVM_DATA, 0, 0, 0, METADATA, LVM_DATA - METADATA, 0, 0]
  for (const [index, place] of places.entries()) label.writeBigUInt64LE(BigInt(place), 64 + index * 8)
  label.writeUInt32LE(checksum(label.subarray(20)), 16)
}

function writeMetadataHeader(header: Buffer, text: Buffer): void {
  header.write(' LVM2 x[5A%r0N*>', 4)
  header.writeUInt32LE(1, 20)
  for (const [index, place] of [METADATA, LVM_DATA - METADATA, HEADER, text.length].entries())
    header.writeBigUInt64LE(BigInt(place), 24 + index * 8)
  header.writeUInt32LE(checksum(text), 56)
  header.writeUInt32LE(checksum(header.subarray(4)), 0)
}

/** LVM's CRC-32 begins elsewhere, and is not inverted. */
function checksum(bytes: Buffer): number {
  return ~crc32(bytes, ~0xf597a6cf >>> 0) >>> 0
}

function id(letter: string): string {
  return [6, 4, 4, 4, 4, 4, 6].map((count) => letter.repeat(count)).join('-')
}

function metadata(sectors: number, extents: number, group: string, volume: string): string {
  return `${group} {
id = "${id('g')}"
seqno = 2
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = ${EXTENT / SECTOR}
max_lv = 0
max_pv = 0
metadata_copies = 0
physical_volumes {
pv0 {
id = "${id('p')}"
device = "/dev/sda1"
status = ["ALLOCATABLE"]
flags = []
dev_size = ${sectors}
pe_start = ${LVM_DATA / SECTOR}
pe_count = ${extents}
}
}
logical_volumes {
${volume} {
id = "${id('v')}"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1
segment1 {
start_extent = 0
extent_count = ${extents}
type = "striped"
stripe_count = 1
stripes = [
"pv0", 0
]
}
}
}
}
contents = "Text Format Volume Group"
version = 1
description = ""
creation_host = "host"
creation_time = 1795956461
`
}
