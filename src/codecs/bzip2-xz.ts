/** Decodes bzip2 and xz by their own programs. They get the whole input, because only they know where a stream ends. */

import type { Format } from '../formats/compression.ts'
import type { DecoderContext } from './decoder-context.ts'
import { decodeBy, type Give } from './external-program.ts'
import type { FrameSequence, Part } from './frame-sequence.ts'

export class ProgramStream implements FrameSequence {
  readonly part: string
  readonly formats: readonly Format[]
  /** Nothing can be decoded behind damage. */
  readonly start = { magic: [], couldBe: () => false }
  last: string | undefined
  readonly #program: 'bzip2' | 'xz'

  constructor(program: 'bzip2' | 'xz') {
    this.#program = program
    this.part = `a ${program} stream`
    this.formats = [program]
  }

  next(): Part | null {
    if (this.last !== undefined) return null
    this.last = `${this.#program} stream`
    return { decode: (context) => this.#decode(context) }
  }

  async #decode(context: DecoderContext): Promise<void> {
    const { input, order, end, recovery, warn } = context
    const offset = input.position
    recovery.sawFrame(true)
    const feed = async (give: Give) => {
      for (let taken = await input.take(); taken !== null; taken = await input.take()) {
        for (const bytes of taken.buffers) await give(bytes)
        for (const lease of taken.leases) lease.release()
      }
    }
    try {
      await decodeBy(this.#program, context, offset, feed)
    } catch (error) {
      await order.drain()
      // The whole archive has come, so the error is about bytes behind it.
      if (!end.judge({ offset: input.position, bytes: Buffer.alloc(0) })) throw error
      warn(`the archive is whole; bytes behind its end were ignored: ${(error as Error).message}`)
    }
  }
}
