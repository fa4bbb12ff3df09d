/**
 * Makes clusters of the bytes of a VMA archive, as views of these bytes, and checks everything that the archive claims. If `findings`
 * are given, it continues behind damage. Data that does not match its checksum is passed on and noted as suspect. Behind a broken
 * extent or a gap it searches for the next extent. An impossible cluster is left out.
 */

import { clusterHashing } from '../codecs/hashing/cluster-hashing.ts'
import { Findings, NoFindings } from '../core/findings.ts'
import type { Chunk, ClusterItem } from '../core/items.ts'
import { ResumedWork } from '../core/resumed-work.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { Deframer } from './vma-deframer/deframer.ts'

/**
 * Takes the bytes of a VMA archive, and gives its clusters. Errors: DAMAGED, INCOMPLETE.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), verifier()]).run()
 */
export const vmaDeframer = defineStage({
  name: 'vma-deframer',
  summary: 'makes clusters out of a VMA archive, and checks it',
  input: 'bytes',
  output: 'clusters',
  options: z.strictObject({
    findings: z
      .instanceof(Findings)
      .optional()
      .describe('in code: takes what is wrong; without it, damage is an error'),
  }),
  create: ({ findings = new NoFindings() }, context) => new VmaDeframer(findings, context),
})

/** Takes chunks while earlier extents are hashed, and passes their clusters on in order. */
class VmaDeframer implements TransformBody<Chunk, ClusterItem> {
  readonly #findings: Findings
  readonly #context: StageContext
  readonly #work: ResumedWork<ClusterItem>
  #deframer: Deframer | null = null

  constructor(findings: Findings, context: StageContext) {
    this.#findings = findings
    this.#context = context
    this.#work = new ResumedWork(context)
  }

  async open(): Promise<void> {
    const hashing = await clusterHashing(this.#context.threads)
    this.#deframer = new Deframer(this.#findings, this.#context, hashing)
  }

  transform(chunk: Chunk, push: Push<ClusterItem>): void | Promise<void> {
    const deframer = this.#deframer!
    deframer.add(chunk)
    this.#work.go(() => deframer.clusters(), push)
    const most = mostHeldOf(this.#context.budget.total)
    if (deframer.held >= most) return this.#work.until(() => deframer.held < most)
  }

  async flush(): Promise<void> {
    await this.#work.until(() => false)
    this.#deframer!.finish()
  }

  close(error: Error | null): Promise<void> {
    return this.#work.close(error)
  }
}

/** Bytes that may wait for their hashes: two extents, or less if memory is short. */
function mostHeldOf(budget: number): number {
  return Math.max(4 << 20, Math.min(8 << 20, budget >> 3))
}
