/** Makes ranges of files and block devices read as zeroes, without writing or allocating them if possible. */

import type { FileHandle } from 'node:fs/promises'
import { EIO, PUNCH_HOLE, type Syscalls, syscalls, ZERO_RANGE } from '../system/syscalls.ts'
import { writeAll } from '../system/write-all.ts'

/** Devices zero whole logical blocks, which have at most a page (4 KiB). */
const ALIGNMENT = 4096

/** The most bytes of one call (1 GiB): a device may be slow, and an abort waits for the end of a call. */
const MAX_PIECE = 2 ** 30

const ZEROES = Buffer.alloc(2 ** 20)

type ZeroCalls = Pick<Syscalls, 'fallocate' | 'blkZeroOut'>

interface ZeroingOptions {
  /** The range stays allocated. */
  noHole?: boolean
  /** Fails with ENOTSUP and changes nothing if it would take as long as writing. */
  fast?: boolean
}

/** Zeroes a range within the file or device. A file keeps its size. */
export async function zeroRange(
  file: FileHandle,
  isDevice: boolean,
  offset: number,
  length: number,
  calls: ZeroCalls | null = syscalls(),
  options: ZeroingOptions = {},
): Promise<void> {
  const { from, to } = wholeBlocks(offset, length)
  let position = from
  while (calls && position < to) {
    const piece = Math.min(MAX_PIECE, to - position)
    if (!(await zeroPiece(calls, file.fd, isDevice, position, piece, options))) break
    position += piece
  }
  if (options.fast && position < to) {
    throw Object.assign(new Error('zeroes would have to be written'), { code: 'ENOTSUP' })
  }
  await writeZeroes(file, offset, from)
  await writeZeroes(file, position, offset + length)
}

/** Gives the space of the range back, if possible. What is read there afterwards is undefined. */
export async function discardRange(file: FileHandle, offset: number, length: number): Promise<void> {
  const { from, to } = wholeBlocks(offset, length)
  const calls = syscalls()
  for (let position = from; calls && position < to; position += MAX_PIECE) {
    const outcome = await calls.fallocate(file.fd, PUNCH_HOLE, position, Math.min(MAX_PIECE, to - position))
    if (outcome === -EIO) throw Object.assign(new Error('input/output error'), { code: 'EIO', syscall: 'fallocate' })
    if (outcome < 0) return
  }
}

/** The whole blocks within the range. If there are none, `from` is `to`. */
function wholeBlocks(offset: number, length: number): { from: number; to: number } {
  const end = offset + length
  const from = Math.min(Math.ceil(offset / ALIGNMENT) * ALIGNMENT, end)
  return { from, to: Math.max(Math.floor(end / ALIGNMENT) * ALIGNMENT, from) }
}

/** Returns false if neither the filesystem nor the device can do it. A device may be slow without a hole. */
async function zeroPiece(
  calls: ZeroCalls,
  fd: number,
  isDevice: boolean,
  offset: number,
  length: number,
  { noHole = false, fast = false }: ZeroingOptions,
): Promise<boolean> {
  if (noHole && fast && isDevice) return false
  if ((await calls.fallocate(fd, noHole ? ZERO_RANGE : PUNCH_HOLE, offset, length)) >= 0) return true
  return isDevice && !fast && (await calls.blkZeroOut(fd, offset, length)) >= 0
}

async function writeZeroes(file: FileHandle, from: number, to: number): Promise<void> {
  for (let position = from; position < to; position += ZEROES.length) {
    await writeAll(file, [ZEROES.subarray(0, Math.min(ZEROES.length, to - position))], position)
  }
}
