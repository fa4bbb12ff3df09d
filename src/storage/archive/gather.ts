/** Gathered writes: many views of memory in one system call, without copying them together. */

import { writev } from 'node:fs'
import type { Writable } from 'node:stream'
import { VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'

/** Linux takes no more views in one writev (limits.h). */
const IOV_MAX = 1024

/** Writes all of the buffers to a file, at `position` or, with null, where its own position stands. */
export async function writeToFile(fd: number, buffers: readonly Uint8Array[], position: number | null): Promise<void> {
  let rest = buffers.filter((buffer) => buffer.byteLength > 0)
  let at = position
  while (rest.length > 0) {
    const written = await writeSome(fd, rest.slice(0, IOV_MAX), at)
    if (written === 0) throw new VmapipeError('FAILED', 'the target takes no more bytes')
    if (at !== null) at += written
    rest = skip(rest, written)
  }
}

function writeSome(fd: number, buffers: readonly Uint8Array[], position: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, buffers as Uint8Array[], position, (error, written) => (error ? reject(error) : resolve(written)))
  })
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

/**
 * Writes all of the buffers to a stream, in one piece where it can do so; resolves when it has let go of them, and rejects
 * when it is closed before. Its `error` event is the caller's business.
 */
export function writeToStream(stream: Writable, buffers: readonly Uint8Array[]): Promise<void> {
  if (totalLength(buffers) === 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    // A stream that is destroyed does not call back for the write that it was at.
    const onClose = () => reject(new VmapipeError('FAILED', 'the stream was closed before it had taken all bytes'))
    stream.once('close', onClose)
    const done = (error?: Error | null) => {
      stream.off('close', onClose)
      if (error) reject(error)
      else resolve()
    }
    const last = buffers.length - 1
    stream.cork()
    for (const [index, buffer] of buffers.entries()) stream.write(buffer, index === last ? done : undefined)
    stream.uncork()
  })
}
