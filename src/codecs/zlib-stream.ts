/** Runs a stream of Node's zlib between our input and our output. Its output is passed on without a copy, within the budget. */

import { once } from 'node:events'
import type { Transform } from 'node:stream'
import type { Budget, Lease } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Chunk } from '../core/items.ts'
import { discard } from '../core/memory.ts'
import { fitted, moved } from './content-memory.ts'
import type { DecoderContext } from './decoder-context.ts'

/** Writes to the engine. Resolves when it has used the bytes, with the number of bytes left over if its stream ended before. */
export type Write = (bytes: Buffer) => Promise<number>

type Engine = Transform & { bytesWritten: number }

/**
 * Runs `feed` into the engine, passes its output on and returns the number of bytes. An error of the engine becomes DAMAGED at
 * `offset`; an error of `feed` stays as it is. `look` is called for the output.
 */
export async function runZlib(
  context: DecoderContext,
  engine: Engine,
  format: string,
  offset: number,
  feed: (write: Write) => Promise<void>,
  look: (bytes: Buffer) => void = () => {},
): Promise<number> {
  // zlib calls a write back when all bytes are used, and never if the stream ends within them.
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
    const total = await passOn(context, engine, look)
    await feeding
    return total
  } catch (error) {
    engine.destroy(error as Error)
    // From here on only this function reads the input.
    await feeding.catch(() => {})
    throw damagedFrame(format, error, offset)
  } finally {
    engine.destroy()
  }
}

/**
 * Passes on the output of zlib, which fills one buffer after the other and may give one in several pieces. A full buffer is passed on
 * without a copy, because zlib has finished with it. The rest in the last buffer is copied, or the end of a small frame would hold
 * a large buffer. After an error zlib may still be writing: then the garbage collector frees the memory.
 */
async function passOn(
  { order, outputs }: DecoderContext,
  engine: Engine,
  look: (bytes: Buffer) => void,
): Promise<number> {
  let filling = null as Filling | null
  let total = 0
  try {
    for await (const bytes of engine as AsyncIterable<Buffer>) {
      total += bytes.length
      look(bytes)
      // Node joins pieces that have waited, in new memory.
      if (filling !== null && !filling.goesOnWith(bytes)) {
        const rest = filling.rest()
        filling = null
        await order.pass(rest)
      }
      filling ??= await Filling.charge(outputs, bytes)
      filling.add(bytes)
      if (!filling.isFull) continue
      const full = filling.full()
      filling = null
      await order.pass(full)
    }
    filling?.mayBeDiscarded()
    return total
  } finally {
    if (filling !== null) await order.pass(filling.rest())
  }
}

/** A buffer of zlib that is not full yet. */
class Filling {
  readonly #outputs: Budget
  readonly #memory: ArrayBuffer
  readonly #start: number
  #end: number
  #lease!: Lease
  #done = false

  private constructor(outputs: Budget, { buffer, byteOffset }: Buffer) {
    this.#outputs = outputs
    this.#memory = buffer as ArrayBuffer
    this.#start = byteOffset
    this.#end = byteOffset
  }

  static async charge(outputs: Budget, bytes: Buffer): Promise<Filling> {
    const filling = new Filling(outputs, bytes)
    filling.#lease = await outputs.charge(bytes.buffer.byteLength, () => {
      if (filling.#done) discard(filling.#content)
    })
    return filling
  }

  get isFull(): boolean {
    return this.#end === this.#memory.byteLength
  }

  goesOnWith({ buffer, byteOffset }: Buffer): boolean {
    return buffer === this.#memory && byteOffset === this.#end
  }

  /** Adds the piece behind the last. */
  add({ length }: Buffer): void {
    this.#end += length
  }

  /** Call when zlib does not write any more. */
  mayBeDiscarded(): void {
    this.#done = true
  }

  full(): Chunk {
    this.#done = true
    return fitted(this.#outputs, this.#content, this.#lease)
  }

  /** A copy of the content so far. */
  rest(): Chunk {
    return moved(this.#outputs, [this.#content], [this.#lease])
  }

  get #content(): Buffer {
    return Buffer.from(this.#memory, this.#start, this.#end - this.#start)
  }
}

/** Makes our error of a codec's error. It is about the data, unless memory ran out. */
export function damagedFrame(format: string, error: unknown, offset: number): Error {
  if (error instanceof VmapipeError) return error
  const { message, code } = error as NodeJS.ErrnoException
  const why = /memory_allocation|Z_MEM_ERROR/.test(code ?? '') ? 'FAILED' : 'DAMAGED'
  return new VmapipeError(why, `a ${format} frame cannot be decoded: ${message}`, { offset, cause: error })
}
