import type { FileHandle } from 'node:fs/promises'

/** What one writev(2) takes at most on Linux (IOV_MAX). */
const MAX_BUFFERS = 1024

/** Writes the buffers one after the other from `offset`, however many they are and however little a call takes. */
export async function writeAll(file: FileHandle, buffers: readonly Uint8Array[], offset: number): Promise<void> {
  let first = 0
  let position = offset
  let rest: Uint8Array | null = null
  while (first < buffers.length) {
    const batch = buffers.slice(first, first + MAX_BUFFERS)
    if (rest) batch[0] = rest
    const { bytesWritten } = await file.writev(batch, position)
    position += bytesWritten
    let left = bytesWritten
    let full = 0
    while (full < batch.length && left >= batch[full].byteLength) left -= batch[full++].byteLength
    first += full
    rest = left > 0 ? batch[full].subarray(left) : full === 0 ? rest : null
    if (bytesWritten === 0 && full === 0) {
      throw Object.assign(new Error('the target takes no more bytes'), { code: 'ENOSPC', syscall: 'writev' })
    }
  }
}
