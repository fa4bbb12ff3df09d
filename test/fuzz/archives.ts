/** Archives to begin with, and checksums made right again, so that a change gets past them. */

import { hash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { clusterHasher, storedHashes } from '../../src/formats/vma/cluster-hash.ts'
import { type BackupOptions, backup } from '../../src/operations/backup.ts'
import { piped } from '../support/content.ts'
import { writeImage } from '../support/image.ts'
import { which } from '../support/tools.ts'

const hasher = await clusterHasher()

const EXTENT_MAGIC = Buffer.from('VMAE')
const EXTENT_HEADER = 512
const LAST_SLOT = EXTENT_HEADER - 8

/** Two drives with noise, text and holes, a config file, more than one extent; made by ours, in this compression. */
export async function ourArchive(
  dir: string,
  compress: string,
  options: Pick<BackupOptions, 'checksums' | 'index'> = {},
): Promise<Buffer> {
  const [a, b] = [join(dir, 'a.raw'), join(dir, 'b.raw')]
  writeImage(a, 6 << 20, { noise: 50_000, text: 100_000, tail: 5000 })
  writeImage(b, (1 << 20) + 512, { text: 70_000, tail: 600 })
  const to = join(dir, `${compress.replace(/\W/g, '-')}.archive`)
  const config = join(dir, 'qemu-server.conf')
  writeFileSync(config, 'memory: 512\n')
  const drives = { 'drive-scsi0': a, 'drive-scsi1': b }
  const configs = { 'qemu-server.conf': config }
  await backup({ drives, configs, to, compress, force: true, ...options })
  return readFileSync(to)
}

/** The same content by other programs, in the forms that ours never writes; those that are not installed are left out. */
export function theirArchives(plain: Buffer): Record<string, Buffer> {
  const commands = [
    ['zstd', '-c', '--no-check'],
    ['zstd', '-c', '--long=27'],
    ['zstd', '-c', '-T2', '-B1MiB', `--stream-size=${plain.length}`],
    ['lz4', '-c', '-BD', '-B5', '-BX'],
    ['lz4', '-c', '-B7', '--no-frame-crc'],
    ['lz4', '-c', '-l'],
    ['gzip', '-c', '-1'],
    ['lzop', '-c'],
  ]
  const there = commands.filter(([program]) => which(program) !== undefined)
  return Object.fromEntries(
    there.map(([program, ...args]) => [[program, ...args].join(' '), piped(program, args, plain)]),
  )
}

/** Where in a VMA archive everything begins that has a meaning: fields of the header, extents. */
export function places(plain: Buffer): number[] {
  const list = [0, 4, 8, 24, 32, 48, 52, 56, 2044, 3068, 4096 + 32, 4096 + 40, 4096 + 64, 12288]
  for (const at of extents(plain)) list.push(at, at + 4, at + 6, at + 40, at + 44, at + 48, at + LAST_SLOT, at + 512)
  return list
}

export type Repair = 'nothing' | 'headers' | 'data'

/** Checksums of headers, or of the extents' data too, as they would have to be for these bytes. */
export function repaired(bytes: Buffer, what: Repair): Buffer {
  if (what === 'nothing') return bytes
  const headerSize = bytes.length >= 60 ? bytes.readUInt32BE(56) : 0
  if (headerSize >= 60 && headerSize <= bytes.length) sign(bytes.subarray(0, headerSize), 32)
  for (const at of extents(bytes)) {
    const header = bytes.subarray(at, at + EXTENT_HEADER)
    const blocks = header.readUInt16BE(6)
    if (what === 'data' && header.toString('latin1', LAST_SLOT, LAST_SLOT + 2) === 'VC') {
      const data = bytes.subarray(at + EXTENT_HEADER, at + EXTENT_HEADER + blocks * 4096)
      header.writeUInt32BE(header[LAST_SLOT + 2] === 2 ? checksumByHashes(header, data) : crc32(data), LAST_SLOT + 4)
    }
    sign(header, 24)
  }
  return bytes
}

/** Algorithm 2; of the bytes that there are, if the slots have more. */
function checksumByHashes(header: Buffer, data: Buffer): number {
  const slots = Array.from({ length: 59 }, (_, slot) => header.readUInt32BE(40 + slot * 8))
  const masks = slots.filter((word) => (word & 0xff) !== 0).map((word) => word >>> 16)
  const blocks = masks.reduce((sum, mask) => sum + mask.toString(2).replaceAll('0', '').length, 0)
  if (data.length < blocks * 4096) return 0
  return hasher.extentChecksum(storedHashes(masks, hasher.hashes(masks, [data])))
}

function* extents(bytes: Buffer): Generator<number> {
  let at = bytes.indexOf(EXTENT_MAGIC)
  for (; at >= 0 && at + EXTENT_HEADER <= bytes.length; at = bytes.indexOf(EXTENT_MAGIC, at + EXTENT_MAGIC.length))
    yield at
}

function sign(bytes: Buffer, at: number): void {
  bytes.fill(0, at, at + 16)
  bytes.set(hash('md5', bytes, 'buffer'), at)
}
