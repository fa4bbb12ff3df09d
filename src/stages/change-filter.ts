/**
 * Drops clusters that are unchanged since another archive, the parent. What is left makes an incremental archive. Clusters are compared
 * by their hashes, so that the data of the parent is not read. Clusters that are zero in both are found by the parent's index.
 */

import { type ClusterHashing, clusterHashing } from '../codecs/hashing/cluster-hashing.ts'
import { BlockCursor } from '../core/block-cursor.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, popcount16 } from '../core/geometry.ts'
import { InOrder } from '../core/in-order.ts'
import { type ClusterItem, Manifest, Run } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { HASH_BYTES } from '../formats/vma/cluster-hash.ts'
import type { Parent, ParentDrive } from './change-filter/parent.ts'
import { elide } from './zero-elider.ts'

const options = z.strictObject({
  since: z
    .string()
    .min(1)
    .describe("the parent: a place of an archive, or `auto`, the newest archive of the guest in the target's folder"),
  guest: z.string().min(1).optional().describe('which guest this is, for `auto`; by default made of the source'),
  against: z
    .custom<Parent | string>((value) => typeof value === 'string' || isParent(value))
    .optional()
    .describe('in code: the open parent, or the reason why there is none and the archive becomes a full one'),
  whole: z
    .custom<Readonly<Record<string, string>>>((value) => typeof value === 'object' && value !== null)
    .optional()
    .describe('in code: by drive, why all of it was read'),
})

type Options = z.output<typeof options>

/** The name of the stage, by which a backup finds it. */
export const CHANGE_FILTER = 'change-filter'

/**
 * Drops clusters that are unchanged since a parent. It stands behind zeroElider. Takes and gives clusters. Errors: USAGE, FAILED, DAMAGED.
 *
 *     const changes = changeFilter({ since: 'auto', against: 'this is the first archive' })
 *     await definePipeline([clusterSource({ drives: { a: 'disk.raw' } }), zeroElider(), changes, vmaFramer(), sink({ to: 'vm.vma' })]).run()
 */
export const changeFilter = defineStage({
  name: CHANGE_FILTER,
  summary: 'drops clusters that are unchanged since another archive, which makes an incremental one',
  input: 'clusters',
  output: 'clusters',
  options,
  create(options: Options, context): TransformBody<ClusterItem, ClusterItem> {
    const { against } = options
    if (against === undefined) {
      throw new VmapipeError('USAGE', 'the parent is not open: only a whole backup can look for it', {
        hint: 'run the pipeline by `vmapipe run` or runBackup',
      })
    }
    return typeof against === 'string' ? full(against, options) : new ChangeFilter(against, options, context)
  },
})

function isParent(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'record' in value && 'drive' in value
}

/** Passes everything on. The archive says why it is a full one. */
function full(reason: string, { guest }: Options): TransformBody<ClusterItem, ClusterItem> {
  return {
    transform(item, push) {
      if (item.kind !== 'manifest') return push(item)
      const known = item.record?.guest ?? null
      push(new Manifest({ ...item, record: { parent: null, guest: guest ?? known, full: reason } }))
    },
  }
}

/** Bytes of runs that are hashed at once, beside the event loop: two full extents, and what comes next. */
const MOST_HASHED = 8 << 20

/** A drive `vmstate` is memory: another backup has other memory in all of it, and it is restored in one piece. */
const MEMORY = 'vmstate'

class ChangeFilter implements TransformBody<ClusterItem, ClusterItem> {
  readonly #parent: Parent
  readonly #options: Options
  readonly #counters: Counters
  readonly #context: StageContext
  readonly #order: InOrder
  /** By dev_id; null for a drive that is stored as a whole. */
  readonly #drives = new Map<number, ParentDrive | null>()
  #hashing: ClusterHashing | null = null

  constructor(parent: Parent, options: Options, context: StageContext) {
    this.#parent = parent
    this.#options = options
    this.#counters = context.counters
    this.#context = context
    this.#order = new InOrder(MOST_HASHED, context)
  }

  async open(): Promise<void> {
    this.#hashing = await clusterHashing(this.#context.threads)
  }

  /** Hashes runs, several at once, and compares them in order. */
  transform(item: ClusterItem, push: Push<ClusterItem>): void | Promise<void> {
    if (item.kind === 'manifest') return push(this.#begin(item))
    const drive = this.#drives.get(item.drive)
    if (drive === undefined) throw new VmapipeError('STAGE', 'clusters came before the manifest')
    if (drive === null) return this.#order.add(item, item, push)
    const run = item.isZero || item.masks !== null ? item : elide(item, this.#counters)
    if (run.isZero) return this.#order.add(run, drive, () => this.#zero(run, drive, push))
    const { masks, blocks, leases } = run
    const hashes = run.hashes ?? this.#hashing!.hashes({ masks: masks!, blocks, leases })
    return this.#order.add(run, hashes, (hashes) => this.#data(run, hashes, drive, push))
  }

  flush(): Promise<void> {
    return this.#order.drain()
  }

  close(error: Error | null): Promise<void> {
    return this.#order.close(error)
  }

  #begin(manifest: Manifest): Manifest {
    const whole: Record<string, string> = { ...manifest.record?.whole, ...this.#options.whole }
    for (const { id, name, size } of manifest.drives) {
      const drive = name === MEMORY ? null : this.#parent.drive(name)
      this.#drives.set(id, drive)
      if (drive === null && name !== MEMORY) whole[name] = 'the parent does not have it'
      else if (drive !== null && drive.clusters !== Math.ceil(size / CLUSTER_SIZE))
        whole[name] ??= 'it was resized since the parent was made'
    }
    for (const [name, reason] of Object.entries(whole))
      this.#context.inform(`drive ${name} is compared as a whole: ${reason}`, { drive: name, whole: reason })
    const guest = this.#options.guest ?? manifest.record?.guest ?? null
    const said = Object.keys(whole).length > 0 ? { whole } : {}
    return new Manifest({ ...manifest, record: { parent: this.#parent.record, guest, full: null, ...said } })
  }

  /** Zeroes where the parent has data are a change; they are stored explicitly. */
  #zero({ drive: id, first, count }: Run, drive: ParentDrive, push: Push<ClusterItem>): void {
    const end = first + count
    const known = Math.min(end, drive.clusters)
    let unchanged = 0
    if (first < known) {
      for (const range of drive.states(first, known - first)) {
        if (range.state === 'zero') unchanged += range.count
        else push(new Run(id, range.first, range.count, []))
      }
    }
    const behind = Math.max(first, drive.clusters)
    if (behind < end) push(new Run(id, behind, end - behind, []))
    this.#counters.add('unchanged', unchanged * CLUSTER_SIZE)
  }

  async #data(run: Run, hashes: Uint8Array, drive: ParentDrive, push: Push<ClusterItem>): Promise<void> {
    run.hashes = hashes
    try {
      const changed = await changedOf(run, hashes, drive)
      const kept = changed.reduce((sum, flag) => sum + flag, 0)
      this.#counters.add('unchanged', (run.count - kept) * CLUSTER_SIZE)
      if (kept === run.count) {
        for (const lease of run.leases) lease.retain()
        push(run)
      } else if (kept > 0) for (const part of partsOf(run, hashes, changed)) push(part)
    } finally {
      run.release()
    }
  }
}

/** For each cluster of the run 1 if it has changed. */
async function changedOf({ first, count, masks }: Run, hashes: Uint8Array, drive: ParentDrive): Promise<Uint8Array> {
  const changed = new Uint8Array(count).fill(1)
  const known = Math.min(count, drive.clusters - first)
  if (known <= 0) return changed
  for (const range of drive.states(first, known)) {
    if (range.state === 'unknown') continue
    const from = range.first - first
    const before = range.state === 'stored' ? await drive.hashes(range.first, range.count) : null
    for (let at = from; at < from + range.count; at++) {
      if (before === null) changed[at] = masks![at] === 0 ? 0 : 1
      else if (masks![at] !== 0) changed[at] = isSame(hashes, at, before, at - from) ? 0 : 1
    }
  }
  return changed
}

function isSame(hashes: Uint8Array, at: number, others: Uint8Array, otherAt: number): boolean {
  const [from, to] = [at * HASH_BYTES, otherAt * HASH_BYTES]
  for (let byte = 0; byte < HASH_BYTES; byte++) if (hashes[from + byte] !== others[to + byte]) return false
  return true
}

/** The runs of the changed clusters, as views of the same memory. */
function* partsOf(run: Run, hashes: Uint8Array, changed: Uint8Array): Generator<Run> {
  const masks = run.masks!
  const cursor = new BlockCursor(run.blocks)
  for (let from = 0; from < run.count; ) {
    let to = from + 1
    while (to < run.count && changed[to] === changed[from]) to++
    let blocks = 0
    for (let at = from; at < to; at++) blocks += popcount16(masks[at])
    const views: Uint8Array[] = []
    cursor.take(blocks * BLOCK_SIZE, views)
    if (changed[from] === 1) yield part(run, hashes, [from, to], views)
    from = to
  }
}

function part(run: Run, hashes: Uint8Array, [from, to]: [number, number], views: Uint8Array[]): Run {
  if (views.length === 0) return new Run(run.drive, run.first + from, to - from, [])
  for (const lease of run.leases) lease.retain()
  const made = new Run(run.drive, run.first + from, to - from, views, run.masks!.slice(from, to), run.leases)
  made.hashes = hashes.slice(from * HASH_BYTES, to * HASH_BYTES)
  return made
}
