/** Writes several buffers to a stream at once. */

import type { Writable } from 'node:stream'
import { VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'

/** Writes at once to a stream: it has the next bytes when the last ones are gone. */
export const STREAM_DEPTH = 2

/**
 * Writes all of the buffers to a stream, in one piece if it supports that. Resolves when the stream needs them no more. Rejects if
 * it is closed before. The caller handles its `error` event.
 */
export function writeToStream(stream: Writable, buffers: readonly Uint8Array[]): Promise<void> {
  if (totalLength(buffers) === 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    // A stream that is destroyed does not call back for the write in progress.
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
