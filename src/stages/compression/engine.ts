/** A stream of Node's zlib between our input and our output: what it gives goes on without a copy, within the budget. */

import { once } from 'node:events'
import type { Transform } from 'node:stream'
import { discard, type Lease } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import type { DecoderContext } from './decoder.ts'

/** Writes to the engine; resolves when it has used the bytes, with how many it left because its stream ended before. */
export type Write = (bytes: Buffer) => Promise<number>

type Engine = Transform & { bytesWritten: number }

/**
 * Runs `feed` into the engine and passes on what comes out; gives how many bytes that were. An error of the engine's
 * own becomes DAMAGED at `offset`; one of `feed` stays as it is.
 */
export async function runEngine(
  context: DecoderContext,
  engine: Engine,
  format: string,
  offset: number,
  feed: (write: Write) => Promise<void>,
): Promise<number> {
  // zlib calls a write back when all of it is used, and never when the stream ends within it.
  const ended = once(engine, 'end')
  ended.catch(() => {})
  let written = 0
  const write: Write = (bytes) => {
    written += bytes.length
    const used = new Promise<void>((resolve, reject) => {
      engine.write(bytes, (error) => (error ? reject(error) : resolve()))
    })
    return Promise.race([used, ended]).then(() => written - engine.bytesWritten)
  }
  const feeding = feed(write).then(() => {
    engine.end()
  })
  feeding.catch((error) => engine.destroy(error))
  try {
    const total = await passOn(context, engine)
    await feeding
    return total
  } catch (error) {
    engine.destroy(error as Error)
    // Nobody but us reads the input from here on.
    await feeding.catch(() => {})
    throw damagedFrame(format, error, offset)
  } finally {
    engine.destroy()
  }
}

/**
 * zlib fills one buffer after the other, and may give one in several pieces. A buffer's memory can be freed when all its
 * pieces are used and zlib has gone on to the next. After an error zlib may still be writing: then the garbage collector
 * frees it.
 */
async function passOn({ order, outputs }: DecoderContext, engine: Engine): Promise<number> {
  let memory: ArrayBufferLike | null = null
  let lease: Lease | null = null
  let total = 0
  let ended = false
  try {
    for await (const bytes of engine as AsyncIterable<Buffer>) {
      if (bytes.buffer !== memory) {
        const own: ArrayBufferLike = bytes.buffer
        memory = own
        lease?.release()
        lease = null
        lease = await outputs.charge(own.byteLength, () => {
          if (memory !== own || ended) discard(bytes)
        })
      }
      total += bytes.length
      await order.pass(new Chunk([bytes], [lease!.retain()]))
    }
    ended = true
    return total
  } finally {
    lease?.release()
  }
}

/** An error of a codec, in our words: what it says is about the data, unless memory ran out. */
export function damagedFrame(format: string, error: unknown, offset: number): Error {
  if (error instanceof VmapipeError) return error
  const { message, code } = error as NodeJS.ErrnoException
  const why = /memory_allocation|Z_MEM_ERROR/.test(code ?? '') ? 'FAILED' : 'DAMAGED'
  return new VmapipeError(why, `a ${format} frame cannot be decoded: ${message}`, { offset, cause: error })
}
