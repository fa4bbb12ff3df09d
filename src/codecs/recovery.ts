/** Handles damage for a decoder: reports it at its place in the content and continues with the next frame. */

import type { Lease } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Findings } from '../core/findings.ts'
import { Chunk } from '../core/items.ts'
import { Turns } from '../core/turns.ts'
import type { ArchiveEnd, Start } from './archive-end.ts'
import type { OrderedTasks } from './ordered-tasks.ts'
import type { FrameStart, PullInput } from './pull-input.ts'

/**
 * If a frame seems to begin somewhere, its bytes are read, and if it is no frame, they are searched once more. A hostile archive could
 * make this last forever. So the bytes that are read in vain are bounded: beyond the first 256 MiB they are at most READ_AGAIN times
 * the bytes of the stream that have passed. Real damage has few such places.
 */
const FREE = 256 << 20
const READ_AGAIN = 8
/** The least bytes that an attempt counts for (4 KiB): it takes as long as reading them. */
const ATTEMPT = 4 << 10

export class Recovery {
  readonly #findings: Findings
  readonly #stage: string
  readonly #order: OrderedTasks
  readonly #end: ArchiveEnd
  readonly #reported = new WeakSet<object>()
  #reports = 0
  readonly #turns = new Turns()
  /** Bytes that were read for attempts that turned out to be no frame. */
  #wasted = 0
  /** The bytes that were passed on before the last gap. */
  #lastGap = -1

  constructor(findings: Findings, stage: string, order: OrderedTasks, end: ArchiveEnd) {
    this.#findings = findings
    this.#stage = stage
    this.#order = order
    this.#end = end
  }

  /** Reports damage, once. Throws it if it must end the run. Call it in order, because bytes behind the archive's end are no damage. */
  report(error: unknown): void {
    const damage = asVmapipeError(error)
    if (this.#reported.has(damage)) return
    this.#reported.add(damage)
    this.#reports++
    this.#findings.report(this.#stage, damage)
  }

  /** Reports damage that was found at the end, unless damage was reported before: it may be the same. */
  reportUnknown(error: unknown): void {
    if (this.#reports === 0) this.report(error)
  }

  /** A gap in the place of lost content. */
  gap(error: unknown): Chunk {
    return new Chunk([], [], { error: asVmapipeError(error), lost: true, doubtful: 0 })
  }

  /** Content that does not match its checksum, and a gap that puts it in doubt. */
  doubt(error: unknown, content: Buffer, lease: Lease): Chunk {
    return new Chunk([content], [lease], { error: asVmapipeError(error), lost: false, doubtful: content.length })
  }

  /** Counts a frame. `checked` says whether it has a checksum of its content. */
  sawFrame(checked: boolean): void {
    this.#order.afterwards(() => {
      const { compression } = this.#findings
      if (compression === null || this.#end.isOver) return
      compression.frames++
      if (checked) compression.checked++
    })
  }

  /**
   * Decodes a frame. If it is damaged, its content ends with a gap, which puts the content passed on so far in doubt, and the input
   * is skipped to what could be the next frame. If the archive ended before this frame, nothing is reported.
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

  /** A gap, or null if no content was passed on since the last gap: one gap is then enough. */
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

/** Adds the begin of the frame to an error, because the "frame" may in fact be bytes behind the end of the archive. */
function withStart(error: VmapipeError, { offset }: Start): VmapipeError {
  const { code, message, where, hint, cause } = error
  if ((code !== 'INCOMPLETE' && code !== 'DAMAGED') || offset === 0 || where.offset === offset) return error
  return new VmapipeError(code, `${message}, in a frame that begins at byte ${offset}`, { ...where, hint, cause })
}

/** The content of a frame, while it is passed on. */
export class Content {
  readonly #order: OrderedTasks
  #start = 0

  constructor(order: OrderedTasks) {
    this.#order = order
    order.afterwards(() => {
      this.#start = order.emitted
    })
  }

  /** Whether none of it was passed on. Call this and `gap` in order. */
  get isEmpty(): boolean {
    return this.#order.emitted === this.#start
  }

  /** A gap to follow the content that puts it in doubt. */
  gap(error: VmapipeError, lost: boolean): Chunk {
    return new Chunk([], [], { error, lost, doubtful: this.#order.emitted - this.#start })
  }
}
