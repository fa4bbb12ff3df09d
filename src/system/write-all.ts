/** Gathered writes: many buffers in one system call, without copying them together. */

import { writev } from 'node:fs'
import { promisify } from 'node:util'

/** The most buffers that one writev(2) takes on Linux (IOV_MAX). */
const MAX_BUFFERS = 1024

/** The part of a FileHandle that is needed here. */
export interface WritableFile {
  writev(buffers: Uint8Array[], position?: number): Promise<{ bytesWritten: number }>
}

/**
 * Writes the buffers one after the other from `offset`, or from the file's own position if that is null. There may be any number of
 * them, and a system call may take any part of them.
 */
export async function writeAll(
  file: WritableFile,
  buffers: readonly Uint8Array[],
  offset: number | null,
): Promise<void> {
  let rest = buffers.filter((buffer) => buffer.byteLength > 0)
  let position = offset
  while (rest.length > 0) {
    const { bytesWritten } = await file.writev(rest.slice(0, MAX_BUFFERS), position ?? undefined)
    if (bytesWritten === 0) {
      throw Object.assign(new Error('the target takes no more bytes'), { code: 'ENOSPC', syscall: 'writev' })
    }
    if (position !== null) position += bytesWritten
    rest = skip(rest, bytesWritten)
  }
}

/** The buffers without their first `bytes` bytes. */
export function skip(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let index = 0
  let left = bytes
  while (index < buffers.length && left >= buffers[index].byteLength) left -= buffers[index++].byteLength
  const rest = buffers.slice(index)
  if (left > 0) rest[0] = rest[0].subarray(left)
  return rest
}

const writevTo = promisify(writev)

/** A file of which only the descriptor is known, because another process opened it. */
export function descriptorFile(fd: number): WritableFile {
  return { writev: async (buffers, position) => writevTo(fd, buffers, position) }
}
