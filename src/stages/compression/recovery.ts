/** What a decoder does about damage: tells of it where it is in the content, and goes on with the next frame. */

import type { Lease } from '../../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { Turns } from '../../core/turns.ts'
import type { Findings } from '../findings.ts'
import type { ArchiveEnd, Start } from './archive-end.ts'
import type { InOrder } from './in-order.ts'
import type { FrameStart, PullInput } from './pull-input.ts'

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
  readonly #end: ArchiveEnd
  readonly #reported = new WeakSet<object>()
  #reports = 0
  readonly #turns = new Turns()
  /** Bytes that were read for frames that turned out to be none. */
  #wasted = 0
  /** How many bytes had gone on before the last gap. */
  #lastGap = -1

  constructor(findings: Findings, stage: string, order: InOrder, end: ArchiveEnd) {
    this.#findings = findings
    this.#stage = stage
    this.#order = order
    this.#end = end
  }

  /** Reports damage, once; throws it where it is to end the run. In its turn: behind the end of the archive there is none. */
  report(error: unknown): void {
    const damage = asVmapipeError(error)
    if (this.#reported.has(damage)) return
    this.#reported.add(damage)
    this.#reports++
    this.#findings.report(this.#stage, damage)
  }

  /** The same for what was found wrong at the end, which may be said already. */
  reportUnknown(error: unknown): void {
    if (this.#reports === 0) this.report(error)
  }

  /** What takes the place of content that is lost. */
  gap(error: unknown): Chunk {
    return new Chunk([], [], { error: asVmapipeError(error), lost: true, doubtful: 0 })
  }

  /** The same where there is content that does not match its checksum: it is in doubt. */
  doubt(error: unknown, content: Buffer, lease: Lease): Chunk {
    return new Chunk([content], [lease], { error: asVmapipeError(error), lost: false, doubtful: content.length })
  }

  /** Of every frame that is read: whether it has a checksum of its content. */
  sawFrame(checked: boolean): void {
    this.#order.afterwards(() => {
      const { compression } = this.#findings
      if (compression === null || this.#end.isOver) return
      compression.frames++
      if (checked) compression.checked++
    })
  }

  /**
   * Decodes a frame. Where it is damaged, its content ends with a gap, all of it that has gone on is in doubt, and the
   * input is taken to what could be the next frame; unless the archive was over before it.
   */
  async attempt(input: PullInput, start: Start, decode: () => Promise<void>, next: FrameStart): Promise<void> {
    await this.#turns.take()
    const content = new Content(this.#order)
    try {
      await decode()
    } catch (error) {
      const damage = withStart(asVmapipeError(error), start)
      this.#order.afterwards(() =>
        content.isEmpty && this.#end.judge(start, damage) ? null : this.#gapOnce(content, damage),
      )
      await this.#order.drain()
      if (this.#end.isOver) return
      if (input.position === start.offset) await input.skip(1)
      this.#wasted += Math.max(ATTEMPT, input.furthest - start.offset)
      await input.skipTo(next, (this.#wasted - FREE) / READ_AGAIN)
    }
  }

  /** One gap says enough as long as nothing has gone on behind it. */
  #gapOnce(content: Content, damage: VmapipeError): Chunk | null {
    const { emitted } = this.#order
    if (this.#lastGap === emitted) {
      this.report(damage)
      return null
    }
    this.#lastGap = emitted
    return content.gap(damage, true)
  }
}

/** Where the frame begins that the damage is in: it may be none, but bytes behind the end of the archive. */
function withStart(error: VmapipeError, { offset }: Start): VmapipeError {
  const { code, message, where, hint, cause } = error
  if ((code !== 'INCOMPLETE' && code !== 'DAMAGED') || offset === 0 || where.offset === offset) return error
  return new VmapipeError(code, `${message}, in a frame that begins at byte ${offset}`, { ...where, hint, cause })
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

  /** Whether nothing of it has gone on. To be called in its turn, as is `gap`. */
  get isEmpty(): boolean {
    return this.#order.emitted === this.#start
  }

  /** What is to follow it where it is in doubt. */
  gap(error: VmapipeError, lost: boolean): Chunk {
    return new Chunk([], [], { error, lost, doubtful: this.#order.emitted - this.#start })
  }
}
