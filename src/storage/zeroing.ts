/** Makes ranges of files and block devices read as zeroes, without writing or allocating them where that is possible. */

import type { FileHandle } from 'node:fs/promises'
import { PUNCH_HOLE, type Syscalls, syscalls } from './syscalls.ts'
import { writeAll } from './write-all.ts'

/** Devices zero whole logical blocks, of at most a page. */
const ALIGNMENT = 4096

/** One call at most: a device may take its time over it, and an abort should not wait for a terabyte. */
const MAX_PIECE = 2 ** 30

const ZEROES = Buffer.alloc(2 ** 20)

type ZeroCalls = Pick<Syscalls, 'fallocate' | 'blkZeroOut'>

/** Zeroes what lies within the file or device. A file keeps its size. */
export async function zeroRange(
  file: FileHandle,
  isDevice: boolean,
  offset: number,
  length: number,
  calls: ZeroCalls | null = syscalls(),
): Promise<void> {
  const end = offset + length
  const from = Math.min(Math.ceil(offset / ALIGNMENT) * ALIGNMENT, end)
  const to = Math.max(Math.floor(end / ALIGNMENT) * ALIGNMENT, from)
  await writeZeroes(file, offset, from)
  let position = from
  while (calls && position < to) {
    const piece = Math.min(MAX_PIECE, to - position)
    if (!(await zeroPiece(calls, file.fd, isDevice, position, piece))) break
    position += piece
  }
  await writeZeroes(file, position, end)
}

/** False where neither the filesystem nor the device can do it. */
async function zeroPiece(calls: ZeroCalls, fd: number, isDevice: boolean, offset: number, length: number) {
  if ((await calls.fallocate(fd, PUNCH_HOLE, offset, length)) >= 0) return true
  return isDevice && (await calls.blkZeroOut(fd, offset, length)) >= 0
}

async function writeZeroes(file: FileHandle, from: number, to: number): Promise<void> {
  for (let position = from; position < to; position += ZEROES.length) {
    await writeAll(file, [ZEROES.subarray(0, Math.min(ZEROES.length, to - position))], position)
  }
}
