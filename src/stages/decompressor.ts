/**
 * Decompresses an archive. The compression is recognised by its content. Small frames that declare their size, such as ours, are
 * decoded in parallel; all others as a stream. Memory is bounded for any compression. An archive that is cut short or damaged is an
 * error. If `findings` are given, it continues with the next frame behind damage, and passes on a gap.
 */

import { ArchiveEnd } from '../codecs/archive-end.ts'
import { ContentOutput } from '../codecs/content-output.ts'
import { decodeArchive } from '../codecs/decode-archive.ts'
import { type DecoderContext, type DecodingPlan, planDecoding } from '../codecs/decoder-context.ts'
import { OrderedTasks } from '../codecs/ordered-tasks.ts'
import { PullInput } from '../codecs/pull-input.ts'
import { Recovery } from '../codecs/recovery.ts'
import { StreamChecksum } from '../codecs/stream-checksum.ts'
import { behindText } from '../core/behind.ts'
import { Findings, NoFindings } from '../core/findings.ts'
import type { Chunk } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'

/**
 * Unpacks bytes, whatever compression they have, or passes them on if they have none. Errors: DAMAGED, INCOMPLETE.
 *
 *     await definePipeline([source({ from: 'vm.vma.zst' }), decompressor(), sink({ to: 'vm.vma' })]).run()
 */
export const decompressor = defineStage({
  name: 'decompressor',
  summary: 'undoes zstd, LZ4, gzip, lzop, bzip2 or xz, whichever it is',
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({
    findings: z
      .instanceof(Findings)
      .optional()
      .describe('in code: takes what is wrong; without it, damage is an error'),
  }),
  create: ({ findings = new NoFindings() }, context) => new Decompressor(findings, context),
})

class Decompressor implements TransformBody<Chunk, Chunk> {
  readonly #checksum = new StreamChecksum()
  readonly #end = new ArchiveEnd(this.#checksum)
  readonly #input = new PullInput(this.#checksum)
  readonly #plan: DecodingPlan
  readonly #signal: AbortSignal
  readonly #findings: Findings
  readonly #name: string
  readonly #warn: (message: string) => void
  #order: OrderedTasks | null = null
  #output: ContentOutput | null = null
  #recovery: Recovery | null = null
  #decoding: Promise<void> = Promise.resolve()
  readonly #abort = () => this.#stop(this.#signal.reason)

  constructor(findings: Findings, { budget, name, threads, signal, warn }: StageContext) {
    this.#plan = planDecoding(budget, name, threads)
    this.#findings = findings
    this.#name = name
    this.#warn = warn
    this.#signal = signal
    signal.addEventListener('abort', this.#abort, { once: true })
  }

  async transform(chunk: Chunk, push: Push<Chunk>): Promise<void> {
    this.#begin(push)
    await this.#input.feed(chunk)
  }

  async flush(push: Push<Chunk>): Promise<void> {
    this.#begin(push)
    this.#input.end()
    await this.#decoding
    this.#output!.flush()
    if (!this.#end.isFooted && !this.#end.isOver) this.#checkFooter()
  }

  async close(error: Error | null): Promise<void> {
    this.#signal.removeEventListener('abort', this.#abort)
    await this.#stop(error ?? new Error('closed'))
  }

  #checkFooter(): void {
    try {
      this.#checksum.footer()
    } catch (error) {
      this.#recovery!.reportUnknown(error)
    }
  }

  #begin(push: Push<Chunk>): void {
    if (this.#order !== null) return
    const report = (error: unknown) => recovery.report(error)
    const output = new ContentOutput(this.#plan.outputs, this.#end, report, push)
    const order = new OrderedTasks(this.#plan.inFlight, (chunk) => output.push(chunk))
    const recovery = new Recovery(this.#findings, this.#name, order, this.#end)
    this.#output = output
    this.#order = order
    this.#recovery = recovery
    const context: DecoderContext = {
      ...this.#plan,
      ...{ input: this.#input, check: this.#checksum, end: this.#end, order, recovery, warn: this.#warn },
      onBehind: (offset, start) => {
        this.#findings.behind = { offset, within: 'archive' }
        this.#warn(behindText(this.#findings.behind, start))
      },
      onFormat: (format) => {
        output.joins = format !== 'vma'
        this.#findings.compression = format === 'vma' ? null : { format, frames: 0, checked: 0 }
      },
    }
    this.#decoding = decodeArchive(context)
    this.#decoding.catch((error) => this.#input.fail(error))
  }

  async #stop(error: Error): Promise<void> {
    this.#input.fail(error)
    this.#plan.inputs.close(error)
    this.#plan.outputs.close(error)
    await this.#order?.stop(error)
    await this.#decoding.catch(() => {})
    this.#output?.clear()
  }
}
