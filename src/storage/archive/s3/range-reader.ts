/**
 * Reads ranges of an object. A range that breaks off is read on from there. The object must stay the same: each request names the version
 * that was there when the archive was opened.
 */

import { setMaxListeners } from 'node:events'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { ArchiveBytes } from '../archive-bytes.ts'
import type { RangeOptions } from '../place.ts'
import { LARGEST_READ, mayPass, S3Client } from './client.ts'
import type { Answer } from './exchange.ts'
import { S3Error } from './s3-error.ts'
import { type S3Place, s3Name } from './s3-url.ts'

/** The last bytes of an archive have its index, or say where it is. They are read first, and kept. */
const TAIL = 128 << 10

/** An attempt that brought this much was worth it, and does not count. */
const PROGRESS = 64 << 10

export class RangeReader implements ArchiveBytes {
  readonly name: string
  readonly size: number
  readonly #key: string
  readonly #client: S3Client
  readonly #etag: string
  readonly #tail: Buffer
  readonly #closing: AbortController
  readonly #count: (bytes: number) => void
  readonly #inFlight = new Set<Promise<void>>()

  private constructor(
    place: S3Place,
    client: S3Client,
    tail: Tail,
    closing: AbortController,
    count: (bytes: number) => void,
  ) {
    this.name = s3Name(place)
    this.#key = place.key
    this.#client = client
    this.size = tail.size
    this.#etag = tail.etag
    this.#tail = tail.bytes
    this.#closing = closing
    this.#count = count
  }

  /** Opens the object. `counters` count the bytes that come from the store. `signal` aborts the opening too. Throws USAGE, FAILED. */
  static async open(place: S3Place, { signal, warn, counters }: RangeOptions): Promise<RangeReader> {
    const count = (bytes: number) => counters?.add('read', bytes)
    const client = await S3Client.open(place.bucket, { warn })
    const closing = new AbortController()
    setMaxListeners(0, closing.signal)
    const onAbort = () => closing.abort(new VmapipeError('ABORTED', 'aborted'))
    signal?.addEventListener('abort', onAbort, { once: true })
    closing.signal.addEventListener('abort', () => signal?.removeEventListener('abort', onAbort), { once: true })
    if (signal?.aborted) onAbort()
    try {
      const tail = await readTail(client, place, closing.signal)
      count(tail.bytes.byteLength)
      return new RangeReader(place, client, tail, closing, count)
    } catch (error) {
      client.close()
      throw error
    }
  }

  /** Fills `buffer` with the bytes from `offset`, which must be within the object. */
  async read(buffer: Uint8Array, offset: number): Promise<void> {
    if (this.#closing.signal.aborted) throw asVmapipeError(this.#closing.signal.reason)
    const tailStart = this.size - this.#tail.byteLength
    const before = Math.max(0, Math.min(buffer.byteLength, tailStart - offset))
    if (before < buffer.byteLength) {
      const from = offset + before - tailStart
      buffer.set(this.#tail.subarray(from, from + buffer.byteLength - before), before)
    }
    const parts: Promise<void>[] = []
    for (let at = 0; at < before; at += LARGEST_READ) {
      parts.push(this.#track(this.#readRange(buffer.subarray(at, Math.min(before, at + LARGEST_READ)), offset + at)))
    }
    await Promise.all(parts)
  }

  /** Ends the reads in flight, and waits until they use their memory no more. */
  async close(): Promise<void> {
    this.#closing.abort(new VmapipeError('FAILED', 'the archive is closed', { file: this.name }))
    await Promise.allSettled(this.#inFlight)
    this.#client.close()
  }

  #track(reading: Promise<void>): Promise<void> {
    this.#inFlight.add(reading)
    const forget = () => this.#inFlight.delete(reading)
    reading.then(forget, forget)
    return reading
  }

  async #readRange(buffer: Uint8Array, offset: number): Promise<void> {
    const { signal } = this.#closing
    let filled = 0
    let attempt = 1
    for (;;) {
      const start = filled
      try {
        await this.#client.ask({
          method: 'GET',
          key: this.#key,
          headers: { range: `bytes=${offset + filled}-${offset + buffer.byteLength - 1}`, 'if-match': this.#etag },
          signal,
          attempts: 1,
          receive: (answer) => {
            if (answer.status !== 206) return answer.status === 200 ? refuseWhole(this.name) : null
            this.#check(answer, offset + filled)
            return (bytes) => {
              if (filled + bytes.byteLength > buffer.byteLength)
                throw wrong(this.name, 'more bytes than it was asked for')
              buffer.set(bytes, filled)
              filled += bytes.byteLength
              this.#count(bytes.byteLength)
            }
          },
        })
        if (filled === buffer.byteLength) return
        throw new VmapipeError(
          'FAILED',
          `${this.name}: the store gave ${filled - start} bytes of ${buffer.byteLength - start}`,
        )
      } catch (error) {
        if (signal.aborted) throw asVmapipeError(signal.reason)
        // All bytes came before the connection broke.
        if (filled === buffer.byteLength && !(error instanceof S3Error)) return
        if (filled - start >= PROGRESS) attempt = 0
        const failure = asVmapipeError(error, { offset: offset + filled })
        if (attempt >= this.#client.settings.attempts || !mayPass(failure)) throw explained(failure, this.name)
        await this.#client.wait(Math.max(1, attempt), signal)
        attempt++
      }
    }
  }

  #check({ headers }: Pick<Answer, 'headers'>, start: number): void {
    const range = rangeOf(headers['content-range'])
    if (range === null || range.start !== start) throw wrong(this.name, 'another range than it was asked for')
    if (range.size !== this.size || (headers.etag !== undefined && headers.etag !== this.#etag))
      throw changed(this.name)
  }
}

interface Tail {
  bytes: Buffer
  size: number
  etag: string
}

/** Reads the last bytes of the object, and what it is. */
async function readTail(client: S3Client, { bucket, key }: S3Place, signal: AbortSignal): Promise<Tail> {
  const name = s3Name({ bucket, key })
  const pieces: Buffer[] = []
  let length = 0
  try {
    const { status, headers } = await client.ask({
      method: 'GET',
      key,
      headers: { range: `bytes=-${TAIL}` },
      signal,
      receive: ({ status }) => {
        if (status !== 206 && status !== 200) return null
        pieces.length = 0
        length = 0
        return (bytes) => {
          length += bytes.byteLength
          // A whole object that is smaller than this may come with a status of 200.
          if (length > TAIL) throw wrong(name, 'more bytes than it was asked for')
          pieces.push(Buffer.from(bytes))
        }
      },
    })
    const { etag = '' } = headers
    if (etag === '' || etag.length > 256) throw new VmapipeError('FAILED', `${name}: the store's answer has no ETag`)
    const bytes = Buffer.concat(pieces)
    const range = status === 206 ? rangeOf(headers['content-range']) : { start: 0, size: bytes.byteLength }
    if (range === null || range.start + bytes.byteLength !== range.size)
      throw wrong(name, 'another range than it was asked for')
    return { bytes, size: range.size, etag }
  } catch (error) {
    // No byte of an empty object can be given.
    if (error instanceof S3Error && error.status === 416) return { bytes: Buffer.alloc(0), size: 0, etag: '' }
    throw error
  }
}

/** `bytes 0-9/100` begins at 0 and is of 100 bytes. */
function rangeOf(text: string | undefined): { start: number; size: number } | null {
  const [, start, size] = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(text ?? '') ?? []
  return size === undefined ? null : { start: Number(start), size: Number(size) }
}

function refuseWhole(name: string): never {
  throw wrong(name, 'the whole object and not a range of it')
}

function wrong(name: string, what: string): S3Error {
  // An S3Error, as such an answer is not asked for again.
  return new S3Error('FAILED', `${name}: the store gave ${what}`, {
    status: 0,
    reason: '',
    hint: 'is the endpoint that of an S3 store?',
  })
}

function changed(name: string): VmapipeError {
  return new VmapipeError('INCOMPLETE', `'${name}' was replaced by another object while it was read`, {
    hint: 'start again',
  })
}

function explained(error: VmapipeError, name: string): VmapipeError {
  if (!(error instanceof S3Error)) return error
  if (error.status === 412) return changed(name)
  if (error.reason === 'InvalidObjectState')
    return new VmapipeError('FAILED', `${name} is in a storage class that must be thawed first`, {
      hint: 'restore it in the store',
    })
  return error
}
