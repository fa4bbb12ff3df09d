/** Checks what an LZ4 frame says about its content. */

import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import type { Lz4FrameHeader } from '../../formats/lz4/frame.ts'
import { newXxh32, type Xxh32 } from '../../formats/lz4/xxh32.ts'
import type { DecoderContext } from '../decoder-context.ts'
import { Content } from '../recovery.ts'

/** Checks "Content Size" and "Content Checksum" against the content. */
export class ContentCheck {
  readonly #declared: number | undefined
  #hash: Xxh32 | null
  readonly #offset: number
  readonly #content: Content
  #total = 0
  /** Of a part of the content, or of it all. */
  #damage: VmapipeError | null = null

  constructor({ contentSize, contentChecksum }: Lz4FrameHeader, offset: number, context: DecoderContext) {
    this.#declared = contentSize
    this.#hash = contentChecksum ? newXxh32() : null
    this.#offset = offset
    this.#content = new Content(context.order)
  }

  add({ buffers, byteLength, gap }: Chunk): void {
    this.#damage ??= gap?.error ?? null
    this.#total += byteLength
    for (const bytes of buffers) this.#hash?.update(bytes)
  }

  /** All of the content, whose checksum was found to be right. */
  trust(bytes: number): void {
    this.#total += bytes
    this.#hash = null
  }

  /** Null if the content agrees. Otherwise the gap that must follow the content. */
  finish(checksum: number | undefined): Chunk | null {
    const problem = this.#damage === null ? this.#problem(checksum) : null
    this.#damage ??= problem
    return this.#damage && this.#content.gap(this.#damage, false)
  }

  #problem(checksum: number | undefined): VmapipeError | null {
    const damaged = (what: string) => new VmapipeError('DAMAGED', `an LZ4 frame ${what}`, { offset: this.#offset })
    if (this.#declared !== undefined && this.#total !== this.#declared)
      return damaged(`declares ${this.#declared} bytes and holds ${this.#total}`)
    return this.#hash !== null && this.#hash.digest() !== checksum ? damaged('does not match its checksum') : null
  }
}
