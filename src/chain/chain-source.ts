/** Reads the last archive of a chain with all its parents as one full archive. Each cluster is read once, from the newest archive that has it. */

import { ArchiveDrive } from '../access/archive-drive.ts'
import { inArchiveOrder } from '../access/archive-order.ts'
import { layeredRuns } from '../access/layers.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import type { Budget } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Findings } from '../core/findings.ts'
import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import { type ClusterItem, Manifest, Run } from '../core/items.ts'
import { defineStage, type SourceBody, type StageContext, z } from '../core/stage.ts'
import { SLOTS_USED } from '../formats/vma/extent.ts'
import { Chain, openChain } from './open-chain.ts'
import { type ReadRun, readRun } from './run-reader.ts'
import { bytesOf, type Planned, UpcomingRuns } from './upcoming-runs.ts'

const options = z.strictObject({
  from: z.string().min(1).describe('the path of the last archive of the chain; a full archive will do too'),
  parents: z
    .array(z.string().min(1))
    .optional()
    .describe('folders and archives where its parents are looked for, before its own folder'),
  order: z
    .enum(['archive', 'drive'])
    .default('archive')
    .describe('the order of the clusters: that of the archives, which is read fastest, or that of the drives'),
  spool: z
    .string()
    .optional()
    .describe('folder for parents that must be unpacked; the one for temporary files by default'),
  chain: z.instanceof(Chain).optional().describe('in code: the open chain, which is not closed'),
  manifest: z
    .instanceof(Manifest)
    .optional()
    .describe('in code: the archive that is made of it, with some or all of its drives'),
  findings: z.instanceof(Findings).optional().describe('in code: takes what is wrong; without it, damage is an error'),
  keys: z.instanceof(Keyring).optional().describe('in code: what opens archives that are encrypted'),
})

type Options = z.output<typeof options>

/**
 * Gives the clusters of a chain of archives, as those of one full archive. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE.
 *
 *     await definePipeline([chainSource({ from: 'night7.vmi.zst' }), zeroExpander(), clusterWriter({ into: 'vm' })]).run()
 */
export const chainSource = defineStage({
  name: 'chain-source',
  summary: 'reads an archive and the parents that it was made against',
  input: 'nothing',
  output: 'clusters',
  options,
  medium: () => 'archives',
  create: (options, context) => new ChainReader(options, context),
})

/** Runs that are read at once: enough to keep the processors at decoding, and in bytes at most a third of the memory. */
const DEPTH = 32
/** A long hole is several runs, so that the next stage has something to do. */
const MOST_ZEROES = SLOTS_USED * 64

interface Pending {
  bytes: number
  runs: Promise<Run[]>
}

class ChainReader implements SourceBody<ClusterItem> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #findings: Findings | null
  /** Memory for reading the archives, if the stage opens them itself. */
  readonly #reading: Budget | null
  #chain: Chain | null = null
  #manifest: Manifest | null = null
  #upcoming: UpcomingRuns | null = null
  readonly #pending: Pending[] = []
  #bytes = 0
  readonly #ready: Run[] = []

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#findings = options.findings ?? null
    this.#reading = options.chain ? null : context.budget.carve(context.budget.capacity >> 1, 'reading the archives')
  }

  async open(): Promise<void> {
    const { from, parents, spool, order, keys = new Keyring() } = this.#options
    const { signal, threads, warn, counters } = this.#context
    this.#chain =
      this.#options.chain ??
      (await openChain(from, { budget: this.#reading!, threads, signal, warn, parents, spool, keys }))
    const { manifest = this.#chain.manifest } = this.#options
    // What comes out is a full archive, with all that its parents have.
    const full = manifest.record && { ...manifest.record, parent: null }
    this.#manifest = new Manifest({ ...manifest, record: full })
    this.#findings?.begin(this.#manifest)
    this.#upcoming =
      order === 'archive'
        ? new UpcomingRuns(inOrderOfArchives(this.#chain, manifest), null)
        : new UpcomingRuns(inOrderOfDrives(this.#chain, manifest), this.#chain.spareMemory())
    counters.set(
      'total',
      manifest.drives.reduce((sum, { size }) => sum + size, 0),
    )
  }

  async read(): Promise<ClusterItem | null> {
    const manifest = this.#manifest
    if (manifest !== null) {
      this.#manifest = null
      return manifest
    }
    while (this.#ready.length === 0) {
      this.#fill()
      const next = this.#pending.shift()
      if (next === undefined) {
        this.#tellMissing()
        return null
      }
      this.#ready.push(...(await next.runs))
      this.#bytes -= next.bytes
    }
    return this.#ready.shift()!
  }

  async close(): Promise<void> {
    for (const { runs } of this.#pending) for (const run of await runs.catch(() => [])) run.release()
    for (const run of this.#ready) run.release()
    await this.#upcoming?.close()
    if (!this.#options.chain) await this.#chain?.close()
  }

  #fill(): void {
    const most = this.#context.budget.capacity / 3
    while (this.#pending.length < DEPTH && (this.#bytes < most || this.#pending.length === 0)) {
      const planned = this.#upcoming?.next()
      if (planned === undefined) return
      const bytes = planned.early === undefined ? bytesOf(planned) : 0
      const runs = this.#runs(planned)
      runs.catch(() => {})
      this.#pending.push({ bytes, runs })
      this.#bytes += bytes
    }
  }

  async #runs(planned: Planned): Promise<Run[]> {
    try {
      return [this.#count(planned, await (planned.early ?? this.#readOne(planned)))]
    } catch (error) {
      const failure = explained(error, planned)
      if (this.#findings === null) throw failure
      return this.#rescue(planned, failure)
    }
  }

  async #readOne(planned: Planned): Promise<ReadRun> {
    const { info, first, end, extent, stored, layer } = planned
    // Memory is taken in the order of the plan, before anything is awaited: the next stage waits for the first run.
    if (stored && extent >= 0) return readRun(info, planned, this.#context.budget.take((end - first) * CLUSTER_SIZE))
    if (extent < 0) throw new VmapipeError('INCOMPLETE', 'the archive was cut, and does not have this cluster')
    await layer.parts.headers.check(extent)
    return { run: new Run(info.id, first, end - first, []), checked: true }
  }

  /** Reads damaged clusters one by one, and leaves out those that cannot be read. */
  async #rescue(planned: Planned, failure: VmapipeError): Promise<Run[]> {
    const { info, first, end, extent, stored } = planned
    const lost: { first: number; count: number; error: VmapipeError }[] = []
    const runs: Run[] = []
    // If the whole extent is damaged, all of them are.
    const single = extent >= 0 && stored && end - first > 1
    for (let cluster = first; cluster < end; cluster++) {
      const one = { ...planned, first: cluster, end: single ? cluster + 1 : end }
      const error = single
        ? await this.#readOne(one).then(
            (read) => void runs.push(this.#count(one, read)),
            (cause) => explained(cause, one),
          )
        : failure
      const last = lost.at(-1)
      if (error !== undefined && last !== undefined && last.first + last.count === cluster) last.count++
      else if (error !== undefined) lost.push({ first: cluster, count: one.end - cluster, error })
      if (!single) break
    }
    for (const { first, count, error } of lost)
      this.#findings!.report(this.#context.name, error, [{ drive: info.name, first, count }])
    return runs
  }

  #count({ info, first, end }: Planned, { run, checked }: ReadRun): Run {
    const { counters } = this.#context
    const length = Math.min(end * CLUSTER_SIZE, info.size) - first * CLUSTER_SIZE
    counters.add('done', length)
    counters.add(run.isZero ? 'zero' : 'read', run.isZero ? length : run.byteLength)
    const found = this.#findings?.drives.get(info.id)
    if (found !== undefined) {
      found.seen.addRange(first, end - first)
      if (checked) found.checked += end - first
    }
    return run
  }

  /** Nothing may be missing without an error. */
  #tellMissing(): void {
    for (const { info, seen } of this.#findings?.drives.values() ?? []) {
      if (seen.count < seen.size && this.#findings!.damageCount === 0)
        throw new VmapipeError('STAGE', 'clusters are missing', { drive: info.name, cluster: seen.firstMissing() })
    }
  }
}

function explained(error: unknown, { info, first, layer }: Planned): VmapipeError {
  const { code, message, where, hint, cause } = asVmapipeError(error)
  const file = layer.parts.place
  const place = { cluster: first, ...where, ...(file !== null && { file }), drive: info.name }
  return new VmapipeError(code, message, { ...place, hint, cause: cause ?? error })
}

/** All clusters in the order of the archives, the oldest first. */
function* inOrderOfArchives(chain: Chain, { drives }: Manifest): Generator<Planned> {
  const readers = drives.map((info) => new ArchiveDrive(info, chain.layersOf(info)))
  for (const { drive, offset, length } of inArchiveOrder(readers)) {
    const info = drives[drive]
    const end = clusterCount(offset + length)
    for (const run of layeredRuns(chain.layersOf(info), offset / CLUSTER_SIZE, end)) {
      yield* pieces({ ...run, info })
    }
  }
}

/** All clusters of each drive in order, one drive after the other. */
function* inOrderOfDrives(chain: Chain, { drives }: Manifest): Generator<Planned> {
  for (const info of drives) {
    for (const run of layeredRuns(chain.layersOf(info), 0, clusterCount(info.size))) yield* pieces({ ...run, info })
  }
}

/** Cuts a run at multiples of an extent, so that a framer fills its extents with as few of them as possible. */
function* pieces(run: Planned): Generator<Planned> {
  const most = run.stored ? SLOTS_USED : MOST_ZEROES
  for (let { first } = run; first < run.end; ) {
    const end = Math.min(run.end, first + most - (first % most))
    yield { ...run, first, end }
    first = end
  }
}
