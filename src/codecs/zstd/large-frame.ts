/** Decodes a frame part by part: one that is large, or does not say how large it is. */

import { constants, createZstdDecompress } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import { fitted } from '../content-memory.ts'
import { type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'
import { damagedFrame, runZlib } from '../zlib-stream.ts'
import type { Libzstd } from './libzstd.ts'

export interface LargeFrame {
  windowLog: number
  /** Its place in the stream, for errors. */
  offset: number
  /** The next bytes of the frame; null at its end. The memory of the last two results may be used. */
  next: () => Promise<Buffer | null>
  /** Takes back bytes that are not used, after an error. */
  giveBack: (bytes: Buffer) => void
}

/**
 * Passes the content on, in memory of the budget, and returns its length. An error of libzstd becomes DAMAGED; an error of `next` stays as
 * it is.
 */
export async function byLibzstd(
  { order, outputs }: DecoderContext,
  { windowLog, offset, next, giveBack }: LargeFrame,
  native: Libzstd,
): Promise<number> {
  const decoder = native.partDecoder(windowLog)
  const inputs = new OneAhead(next)
  let input: Buffer = Buffer.alloc(0)
  let total = 0
  let ended = false
  try {
    while (!ended) {
      const slab = await outputs.take(STREAM_PIECE)
      let filled = 0
      try {
        while (!ended && filled < slab.bytes) {
          if (input.byteLength === 0) input = (await inputs.take()) ?? endsEarly()
          const step = await native.decodePart(decoder, slab.buffer.subarray(filled), input)
          input = input.subarray(step.read)
          filled += step.written
          ended = step.ended
        }
      } finally {
        total += filled
        if (filled > 0) await order.pass(fitted(outputs, slab.buffer.subarray(0, filled), slab))
        else slab.release()
      }
    }
    if (input.byteLength > 0 || (await inputs.take()) !== null) throw goesOn(offset)
    return total
  } catch (error) {
    throw damagedFrame('zstd', error, offset)
  } finally {
    native.freeDecoder(decoder)
    const unused = await inputs.end()
    if (unused !== null) giveBack(Buffer.from(unused))
  }
}

/** Asks for bytes while those before them are in use. */
class OneAhead {
  readonly #next: () => Promise<Buffer | null>
  #coming: Promise<Buffer | null>

  constructor(next: () => Promise<Buffer | null>) {
    this.#next = next
    this.#coming = this.#ask()
  }

  async take(): Promise<Buffer | null> {
    const bytes = await this.#coming
    if (bytes === null) return null
    this.#coming = this.#ask()
    return bytes
  }

  #ask(): Promise<Buffer | null> {
    const coming = this.#next()
    // It is awaited later. Until then it must not count as an unhandled rejection.
    coming.catch(() => {})
    return coming
  }

  /** Resolves when nothing is asked for any more, with the bytes that nobody has taken. */
  end(): Promise<Buffer | null> {
    return this.#coming.catch(() => null)
  }
}

function endsEarly(): never {
  throw new Error('it ends within a block')
}

/** The same if libzstd cannot be called. Node's zlib takes new memory for each MiB of content, which takes as long as to decode it. */
export function byZlib(context: DecoderContext, { windowLog, offset, next }: LargeFrame): Promise<number> {
  const params = { [constants.ZSTD_d_windowLogMax]: windowLog }
  const engine = createZstdDecompress({ params, chunkSize: STREAM_PIECE })
  return runZlib(context, engine, 'zstd', offset, async (write) => {
    for (let bytes = await next(); bytes !== null; bytes = await next())
      if ((await write(bytes)) > 0) throw goesOn(offset)
  })
}

function goesOn(offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', 'a zstd frame goes on after its end', { offset })
}
