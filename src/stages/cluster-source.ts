/**
 * Reads drives. Holes are not read. Data is read in parts of up to one extent, several at once, and the drives take turns. Runs are
 * given in order, so that the same drives make the same archive.
 *
 * A drive that a guest writes to has claims (cluster-source/claims.ts). The scan claims each cluster before it reads it, so that
 * scan and guest never both put it into the archive.
 */

import { randomUUID } from 'node:crypto'
import type { Budget, Slab } from '../core/budget.ts'
import type { ClusterRange } from '../core/cluster-set.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, roundUp } from '../core/geometry.ts'
import { type ArchiveRecord, type ClusterItem, type DriveInfo, Manifest, Run } from '../core/items.ts'
import { defineStage, type SourceBody, type StageContext, z } from '../core/stage.ts'
import { refuseNames } from '../formats/vma/names.ts'
import type { DriveReader } from '../storage/drive.ts'
import { openDriveReader } from '../storage/open.ts'
import {
  type ChangedClusters,
  changedOf,
  changedParts,
  unchangedBytes,
  wholeReasons,
} from './cluster-source/changed.ts'
import { type ClusterClaims, claimsOf, UNCLAIMED } from './cluster-source/claims.ts'
import { configFiles, namedConfigs, readConfigs } from './cluster-source/config-files.ts'
import { type ScanPart, scanParts } from './cluster-source/scan-parts.ts'

const options = z.strictObject({
  drives: z
    .record(z.string().min(1), z.union([z.string().min(1), z.custom<DriveReader>(isDriveReader)]))
    .default({})
    .describe('names of drives, such as drive-scsi0, and the place to read each from'),
  configs: configFiles(),
  anyNames: z
    .custom<boolean>((value) => typeof value === 'boolean')
    .optional()
    .describe('in code: keep names as they are, because they are those of an existing archive'),
  inTurn: z
    .boolean()
    .default(true)
    .describe(
      'read a part of each drive in turn; if false, one drive after the other, so that a change in one moves nothing of another',
    ),
  forceShare: z
    .boolean()
    .default(false)
    .describe('read images even if a guest or another program has them open for writing: the data may be inconsistent'),
  changed: z
    .custom<Readonly<Record<string, ChangedClusters>>>((value) => typeof value === 'object' && value !== null)
    .optional()
    .describe(
      'in code: by drive, the clusters that may have changed since the parent; others are not read, and left out',
    ),
  guest: z.string().min(1).optional().describe('which guest the drives are of, for the record of the archive'),
  uuid: z.guid().optional().describe('uuid of the archive; a new one by default'),
  ctime: z.int().min(0).optional().describe('time of the archive in seconds since the epoch; now by default'),
})

type Options = z.output<typeof options>

/**
 * Reads drives that nobody writes to. Gives clusters. Errors: USAGE, FAILED.
 *
 *     await definePipeline([clusterSource({ drives: { 'drive-scsi0': 'disk.raw' } }), vmaFramer(), sink({ to: 'vm.vma' })]).run()
 */
export const clusterSource = defineStage({
  name: 'cluster-source',
  summary: 'reads drives',
  input: 'nothing',
  output: 'clusters',
  options,
  medium: () => 'drives',
  create: (options, context) => new ClusterSource(options, context),
})

/** The number of reads in flight, each of up to one extent. */
const DEPTH = 4

/**
 * Clusters in one part of a drive that a guest writes to (1 MiB). Searching a part for zeroes blocks the event loop, and with it the
 * guest, so parts are small.
 */
const CLAIMED_CLUSTERS = 16

/** The share of the budget for the scan of a guest's drives: 8 to 16 MiB, enough to keep a disk busy. The rest is for the guest's writes. */
function scanShare(budget: number): number {
  return Math.max(8 << 20, Math.min(16 << 20, budget >> 2))
}

/**
 * The share of the budget for drives at rest: 16 MiB, or a quarter if that is more. An extent that is not full holds up to 8 MiB, and the
 * next part must fit beside it. More would only wait in queues, and go from one memory to another past the cache of the processor.
 */
function restShare({ capacity, total }: Budget): number {
  return Math.min(capacity, Math.max(16 << 20, total >> 2))
}

interface OpenDrive extends DriveInfo {
  reader: DriveReader
  claims: ClusterClaims
  given: ChangedClusters | null
  /** Takes the number of bytes that are not read, because they have not changed. */
  onUnchanged(bytes: number): void
}

class ClusterSource implements SourceBody<ClusterItem> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #drives: OpenDrive[] = []
  #manifest: Manifest | null = null
  #plan: AsyncIterator<Planned> | null = null
  readonly #inFlight: Promise<Run[]>[] = []
  readonly #ready: Run[] = []
  #budget: Budget

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#budget = context.budget
  }

  async open(): Promise<void> {
    const { drives, uuid = randomUUID(), ctime = Math.floor(Date.now() / 1000), anyNames } = this.#options
    const configs = namedConfigs(this.#options.configs)
    if (!anyNames) refuseNames({ drives: Object.keys(drives), configs: configs.map(([name]) => name) })
    for (const [name, source] of Object.entries(drives)) await this.#openDrive(name, source)
    this.#manifest = new Manifest({
      uuid: Buffer.from(uuid.replaceAll('-', ''), 'hex'),
      ctime,
      configs: await readConfigs(configs, this.#context.signal),
      drives: this.#drives.map(({ id, name, size }) => ({ id, name, size })),
    })
    if (this.#drives.some(({ claims }) => claims !== UNCLAIMED))
      this.#budget = this.#context.budget.carve(scanShare(this.#context.budget.capacity), 'the scan')
    this.#plan = this.#options.inTurn ? interleave(this.#drives) : oneByOne(this.#drives)
    this.#context.counters.set(
      'total',
      this.#drives.reduce((sum, { size }) => sum + size, 0),
    )
  }

  async read(): Promise<ClusterItem | null> {
    const manifest = this.#manifest
    if (manifest !== null) {
      this.#manifest = null
      // All stages are open by now, and have carved their parts off the budget.
      if (this.#budget === this.#context.budget) this.#budget = this.#budget.carve(restShare(this.#budget), 'the scan')
      return new Manifest({ ...manifest, record: this.#record() })
    }
    while (this.#ready.length === 0) {
      await this.#readAhead()
      const next = this.#inFlight.shift()
      if (next === undefined) return null
      this.#ready.push(...(await next))
    }
    return this.#ready.shift()!
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
    // A search for holes that has begun keeps its disk open.
    await this.#plan?.return?.()
    for (const { reader } of this.#drives) await reader.close()
  }

  /** Made when the scan begins: only then it is known what may have changed on the drives of a guest. */
  #record(): ArchiveRecord | null {
    const { guest = null } = this.#options
    const whole = wholeReasons(this.#drives)
    const hasReasons = Object.keys(whole).length > 0
    if (guest === null && !hasReasons) return null
    return { parent: null, guest, full: null, ...(hasReasons && { whole }) }
  }

  async #openDrive(name: string, source: string | DriveReader): Promise<void> {
    const { signal } = this.#context
    const { forceShare } = this.#options
    const reader = typeof source === 'string' ? await openDriveReader(source, { signal, forceShare }) : source
    const { counters } = this.#context
    this.#drives.push({
      ...{ id: this.#drives.length + 1, name, size: reader.size, reader, claims: claimsOf(reader) },
      given: this.#options.changed?.[name] ?? null,
      onUnchanged: (bytes) => counters.add('total', -bytes),
    })
    if (reader.size === 0)
      throw new VmapipeError('FAILED', 'the drive is empty, there is nothing to back up', { drive: name })
  }

  async #readAhead(): Promise<void> {
    while (this.#inFlight.length < DEPTH && this.#plan !== null) {
      const { done, value } = await this.#plan.next()
      if (done) {
        this.#plan = null
        return
      }
      const runs = this.#read(value)
      // `read` awaits it later and gets the error. Until then it must not count as an unhandled rejection.
      runs.catch(() => {})
      this.#inFlight.push(runs)
    }
  }

  /** The runs of a part: one, unless a guest has claimed some of its clusters. */
  async #read({ drive, first, count, zero }: Planned): Promise<Run[]> {
    if (zero) return drive.claims.claim(first, count, count).flatMap((range) => this.#holes(drive, range))
    // Takes memory before it claims: a guest that waits for a claimed cluster must not wait for memory of the scan.
    const free = drive.claims.free(first, count)
    if (free === 0) return []
    // Always takes memory for the whole part, even if a guest has claimed some of it: buffers of one size are reused.
    const slab = await this.#budget.take(
      Math.min(count * CLUSTER_SIZE, roundUp(drive.size - first * CLUSTER_SIZE, BLOCK_SIZE)),
    )
    const ranges = drive.claims.claim(first, count, free)
    let used = 0
    const reads = ranges.map((range) => {
      const bytes = slab.buffer.subarray(used, used + range.count * CLUSTER_SIZE)
      used += bytes.length
      return this.#data(drive, range, bytes, slab.retain())
    })
    slab.release()
    return (await Promise.all(reads)).flat()
  }

  #holes({ id, size, claims }: OpenDrive, { first, count }: ClusterRange): Run[] {
    return claims.settle(first, count).map((kept) => {
      const length = Math.min(kept.count * CLUSTER_SIZE, size - kept.first * CLUSTER_SIZE)
      this.#context.counters.add('zero', length)
      this.#context.counters.add('done', length)
      return new Run(id, kept.first, kept.count, [])
    })
  }

  async #data(drive: OpenDrive, { first, count }: ClusterRange, room: Buffer, slab: Slab): Promise<Run[]> {
    const { counters } = this.#context
    const offset = first * CLUSTER_SIZE
    const length = Math.min(count * CLUSTER_SIZE, drive.size - offset)
    const bytes = room.subarray(0, roundUp(length, BLOCK_SIZE))
    try {
      await drive.reader.read(bytes.subarray(0, length), offset)
    } catch (error) {
      slab.release()
      throw located(error, drive.name, offset)
    }
    // The archive has whole blocks: bytes past the end of the drive are zero.
    bytes.fill(0, length)
    counters.add('read', length)
    const runs = drive.claims.settle(first, count).map((kept) => {
      const at = (kept.first - first) * CLUSTER_SIZE
      const blocks = bytes.subarray(at, at + kept.count * CLUSTER_SIZE)
      counters.add('done', Math.min(blocks.length, length - at))
      return new Run(drive.id, kept.first, kept.count, [blocks], null, [slab.retain()])
    })
    slab.release()
    return runs
  }
}

export function isDriveReader(value: unknown): value is DriveReader {
  return typeof value === 'object' && value !== null && 'map' in value && 'read' in value
}

interface Planned extends ScanPart {
  drive: OpenDrive
}

async function* oneByOne(drives: OpenDrive[]): AsyncGenerator<Planned> {
  for (const drive of drives) yield* interleave([drive])
}

/** Gives a part of each drive in turn, until all drives are done. */
async function* interleave(drives: OpenDrive[]): AsyncGenerator<Planned> {
  const all = drives.map((drive) => ({
    drive,
    plan: partsOf(drive, drive.claims === UNCLAIMED ? undefined : CLAIMED_CLUSTERS),
  }))
  try {
    let open = all
    while (open.length > 0) {
      const left: typeof open = []
      for (const entry of open) {
        const { done, value } = await entry.plan.next()
        if (done) continue
        yield { drive: entry.drive, ...value }
        left.push(entry)
      }
      open = left
    }
  } finally {
    for (const { plan } of all) await plan.return(undefined)
  }
}

/** The parts of a drive. What may have changed is known only when the scan begins, after the point in time of a guest. */
async function* partsOf({ reader, given, size, onUnchanged }: OpenDrive, most?: number): AsyncGenerator<ScanPart> {
  const changed = given ?? (await changedOf(reader))
  if (changed === null) return yield* scanParts(reader, most)
  onUnchanged(unchangedBytes(changed, size))
  yield* changedParts(reader, changed, most)
}

function located(error: unknown, drive: string, offset: number): unknown {
  if (!(error instanceof Error)) return error
  const { code } = error as NodeJS.ErrnoException
  if (error instanceof VmapipeError) {
    error.where.drive ??= drive
    error.where.offset ??= offset
    return error
  }
  return new VmapipeError('FAILED', `cannot read: ${code === 'EIO' ? 'input/output error (EIO)' : error.message}`, {
    drive,
    offset,
    cause: error,
  })
}
