/** What a decoder does about damage: reports it, says to the next stage that there is a gap, and goes on with the next frame. */

import type { Lease } from '../../core/budget.ts'
import type { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { Turns } from '../../core/turns.ts'
import type { Findings } from '../findings.ts'
import type { InOrder } from './in-order.ts'
import type { FrameStart, Inlet } from './inlet.ts'

/**
 * Where a frame seems to begin it is read, and if it is none, its bytes are looked through once more. Bytes that are made for it would
 * be read without end: beyond this many bytes only READ_AGAIN times as many are read as have gone by. Real damage has few such places.
 */
const FREE = 256 << 20
const READ_AGAIN = 8
/** What an attempt counts for at least, as it takes as long as to read so many bytes. */
const ATTEMPT = 4 << 10

export class Recovery {
  readonly #findings: Findings
  readonly #stage: string
  readonly #order: InOrder
  #reports = 0
  readonly #turns = new Turns()
  /** Bytes that were read for frames that turned out to be none. */
  #wasted = 0
  /** How many bytes had gone on before the last gap. */
  #lastGap = -1

  constructor(findings: Findings, stage: string, order: InOrder) {
    this.#findings = findings
    this.#stage = stage
    this.#order = order
  }

  /** Reports damage; throws it where it is to end the run. */
  report(error: unknown): VmapipeError {
    this.#reports++
    return this.#findings.report(this.#stage, error)
  }

  /** The same for what was found wrong at the end, which may be said already. */
  reportUnknown(error: unknown): void {
    if (this.#reports === 0) this.report(error)
  }

  /** Reports damage, and gives what takes the place of the content. */
  gap(error: unknown): Chunk {
    return new Chunk([], [], { error: this.report(error), lost: true, doubtful: 0 })
  }

  /** The same where there is content that does not match its checksum: it is in doubt. */
  doubt(error: unknown, content: Buffer, lease: Lease): Chunk {
    try {
      return new Chunk([content], [lease], { error: this.report(error), lost: false, doubtful: content.length })
    } catch (failure) {
      lease.release()
      throw failure
    }
  }

  /** Of every frame that is read: whether it has a checksum of its content. */
  sawFrame(checked: boolean): void {
    const { compression } = this.#findings
    if (compression === null) return
    compression.frames++
    if (checked) compression.checked++
  }

  /**
   * Decodes a frame. Where it is damaged, its content ends with a gap, all of it that has gone on is in doubt, and the
   * input is taken to what could be the next frame.
   */
  async attempt(input: Inlet, decode: () => Promise<void>, next: FrameStart): Promise<void> {
    await this.#turns.take()
    const offset = input.position
    const content = new Content(this.#order)
    try {
      await decode()
    } catch (error) {
      const damage = this.report(error)
      this.#order.afterwards(() => this.#gapOnce(content, damage))
      if (input.position === offset) await input.skip(1)
      this.#wasted += Math.max(ATTEMPT, input.furthest - offset)
      await input.skipTo(next, (this.#wasted - FREE) / READ_AGAIN)
    }
  }

  /** One gap says enough as long as nothing has gone on behind it. */
  #gapOnce(content: Content, damage: VmapipeError): Chunk | null {
    const { emitted } = this.#order
    if (this.#lastGap === emitted) return null
    this.#lastGap = emitted
    return content.gap(damage, true)
  }
}

/** The content of a frame, as it goes on. */
export class Content {
  readonly #order: InOrder
  #start = 0

  constructor(order: InOrder) {
    this.#order = order
    order.afterwards(() => {
      this.#start = order.emitted
    })
  }

  /** What is to follow it where it is in doubt. To be called in its turn. */
  gap(error: VmapipeError, lost: boolean): Chunk {
    return new Chunk([], [], { error, lost, doubtful: this.#order.emitted - this.#start })
  }
}
