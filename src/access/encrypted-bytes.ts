/**
 * Reads an archive that is encrypted with age at any offset. Each chunk of 64 KiB is authenticated before any of it is used, and so is
 * the last one when the archive is opened: it says that the archive is whole.
 */

import { LRUCache } from 'lru-cache'
import { chunkCipher } from '../codecs/age/chunk-cipher.ts'
import { headerOf, type Keyring } from '../codecs/age/keyring.ts'
import { PayloadWorkers } from '../codecs/age/payload-workers.ts'
import { Bell } from '../core/bell.ts'
import { CHUNK, notAuthentic, type PayloadShape, payloadShape, SEALED, TAG } from '../formats/age/payload.ts'
import type { ArchiveBytes, StreamRange } from '../storage/archive/archive-bytes.ts'

/** Chunks that are kept: readers look up many small things that are near each other. */
const KEPT = 16
/** Up to so many chunks are opened at once, as that takes less time than to hand them to a thread. */
const AT_ONCE = 4
/** Chunks that go to a thread together. */
const BATCH = 16
const WORKERS = 2
/** Batches that are read or opened at a time: the memory of the others is not needed yet. */
const IN_FLIGHT = 4

/** The content of `file`, if it is encrypted; otherwise the file itself. Errors: USAGE without the right key, DAMAGED, INCOMPLETE. */
export async function decrypted(file: ArchiveBytes, keys: Keyring): Promise<ArchiveBytes> {
  const found = await headerOf(file)
  if (found === null) return file
  const { key, start } = await keys.open(found.header, found.start)
  const bytes = new EncryptedBytes(file, { key, start, shape: payloadShape(file.size - start, start) })
  await bytes.checkEnd()
  return bytes
}

interface Payload {
  key: Uint8Array
  /** Bytes before the first chunk. */
  start: number
  shape: PayloadShape
}

class EncryptedBytes implements ArchiveBytes {
  readonly size: number
  readonly #file: ArchiveBytes
  readonly #payload: Payload
  readonly #kept = new LRUCache<number, Buffer>({ max: KEPT })
  #workers: PayloadWorkers | null = null
  /** The memory of batches, while none uses it. */
  readonly #idle: ArrayBuffer[] = []
  #inFlight = 0
  readonly #bell = new Bell()

  constructor(file: ArchiveBytes, payload: Payload) {
    this.#file = file
    this.#payload = payload
    const { chunks, lastBytes } = payload.shape
    this.size = (chunks - 1) * CHUNK + lastBytes
  }

  /** Throws DAMAGED if the file's last chunk is not the payload's last. */
  async checkEnd(): Promise<void> {
    await this.#chunk(this.#payload.shape.chunks - 1)
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    const first = Math.floor(offset / CHUNK)
    const last = Math.floor((offset + buffer.byteLength - 1) / CHUNK)
    if (last - first < AT_ONCE) {
      for (let index = first; index <= last; index++) copy(await this.#chunk(index), index, buffer, offset)
      return
    }
    const batches: Promise<void>[] = []
    for (let index = first; index <= last; index += BATCH) {
      batches.push(this.#batch(index, Math.min(BATCH, last + 1 - index), buffer, offset))
    }
    await settled(batches)
  }

  ahead(ranges: readonly StreamRange[]): void {
    this.#file.ahead?.(
      ranges.map(({ offset, length }) => {
        const first = Math.floor(offset / CHUNK)
        const last = Math.floor((offset + length - 1) / CHUNK)
        return { offset: this.#placeOf(first), length: this.#sealedBytes(first, last + 1 - first) }
      }),
    )
  }

  async close(): Promise<void> {
    await this.#file.close()
    await this.#workers?.close()
    this.#kept.clear()
  }

  async #chunk(index: number): Promise<Buffer> {
    const kept = this.#kept.get(index)
    if (kept !== undefined) return kept
    const { key, shape } = this.#payload
    const bytes = Buffer.allocUnsafeSlow(this.#sealedBytes(index, 1))
    await this.#file.read(bytes, this.#placeOf(index))
    if (!chunkCipher().open(key, index, index === shape.chunks - 1, bytes)) throw notAuthentic(this.#placeOf(index))
    const content = bytes.subarray(0, -TAG)
    this.#kept.set(index, content)
    return content
  }

  /** Opens chunks in a thread, and copies what is wanted of them. */
  async #batch(first: number, count: number, buffer: Uint8Array, offset: number): Promise<void> {
    const { key, shape } = this.#payload
    const sealedBytes = this.#sealedBytes(first, count)
    while (this.#inFlight === IN_FLIGHT) await this.#bell.next()
    this.#inFlight++
    try {
      const taken = this.#idle.pop() ?? new ArrayBuffer(BATCH * SEALED)
      await this.#file.read(new Uint8Array(taken, 0, sealedBytes), this.#placeOf(first))
      this.#workers ??= new PayloadWorkers(key, { seal: false, limit: WORKERS })
      const isLast = first + count === shape.chunks
      const { memory, failed } = await this.#workers.run({ memory: taken, from: 0, sealedBytes, first, isLast })
      this.#idle.push(memory)
      if (failed >= 0) throw notAuthentic(this.#placeOf(failed))
      for (let at = 0; at < count; at++) {
        const end = Math.min((at + 1) * SEALED, sealedBytes) - TAG
        copy(new Uint8Array(memory, at * SEALED, end - at * SEALED), first + at, buffer, offset)
      }
    } finally {
      this.#inFlight--
      this.#bell.ring()
    }
  }

  #placeOf(index: number): number {
    return this.#payload.start + index * SEALED
  }

  #sealedBytes(first: number, count: number): number {
    const { chunks, lastBytes } = this.#payload.shape
    return count * SEALED - (first + count === chunks ? CHUNK - lastBytes : 0)
  }
}

/** Copies what `buffer`, which begins at `offset`, wants of the content of a chunk. */
function copy(content: Uint8Array, index: number, buffer: Uint8Array, offset: number): void {
  const at = index * CHUNK - offset
  const from = Math.max(0, -at)
  buffer.set(content.subarray(from, Math.max(from, buffer.byteLength - at)), at + from)
}

/** Waits for all, since they write into the caller's memory. Throws the first error. */
async function settled(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason
}
