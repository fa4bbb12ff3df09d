/**
 * Writes ranges to drives, several writes in flight. Files get their final names only when every drive is complete and synced. If
 * a drive cannot be written, it is given up and the others continue: the run fails at its end, or at once if no drive is left. If
 * the archive is damaged, a drive that is not whole gets a name that says so.
 */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Findings } from '../core/findings.ts'
import type { Range, RangeItem } from '../core/items.ts'
import { defineStage, type SinkBody, type StageContext, z } from '../core/stage.ts'
import type { DriveWriter } from '../storage/drive.ts'
import { IMAGE_FORMATS } from '../storage/spec.ts'
import { Targets } from './cluster-writer/targets.ts'

const options = z.strictObject({
  into: z
    .string()
    .min(1)
    .optional()
    .describe('folder for the drives and config files of the archive; made if it does not exist'),
  drives: z
    .record(z.string(), z.string().min(1))
    .default({})
    .describe('drives by name, and the place to write each to; without `into`, only these'),
  configs: z.boolean().default(true).describe('write the config files too (into the folder)'),
  format: z
    .enum(['raw', ...IMAGE_FORMATS])
    .optional()
    .describe('format of the images in the folder; by default what an archive of Proxmox says of each, or raw'),
  force: z.boolean().default(false).describe('overwrite existing files'),
  mode: z
    .string()
    .optional()
    .describe('permissions of new files, such as "0640"; by default only their owner may read and write them'),
  zeroed: z
    .union([z.boolean(), z.array(z.string())])
    .default(false)
    .describe('these drives (or all) are all zeroes already, so that zeroes need not be written'),
  findings: z.instanceof(Findings).optional().describe('in code: which drives are not whole'),
  salvage: z
    .custom<boolean>((value) => typeof value === 'boolean')
    .optional()
    .describe('in code: restore drives that are not whole under their final names too'),
  onUnsound: z
    .custom<(drive: UnsoundDrive) => void>((value) => typeof value === 'function')
    .optional()
    .describe('in code: called with each drive that is not whole, and its place'),
  onFailed: z
    .custom<(error: VmapipeError) => void>((value) => typeof value === 'function')
    .optional()
    .describe(
      'in code: called at the end with the reason why a drive could not be written; the run then does not fail',
    ),
})

type Options = z.output<typeof options>

/**
 * Writes ranges to drives: files in a folder, devices, images, NBD exports. They get their final names when all is durable. Errors:
 * USAGE, FAILED.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), zeroExpander(), clusterWriter({ into: 'vm' })]).run()
 */
export const clusterWriter = defineStage({
  name: 'cluster-writer',
  summary: 'writes drives: files in a folder, devices, images, NBD exports',
  input: 'ranges',
  output: 'nothing',
  options,
  medium: () => 'drives',
  create(options, context) {
    if (options.into === undefined && Object.keys(options.drives).length === 0) {
      throw new VmapipeError('USAGE', 'there is no target to restore to', { hint: 'give a folder, or drives' })
    }
    return new ClusterWriter(options, context)
  },
})

/** The number of writes in flight, over all drives. */
const DEPTH = 8

const ZERO_AT_ONCE = 1 << 30

/** The suffix of the name of a drive that is not whole. */
const DAMAGED = '.damaged'

export interface UnsoundDrive {
  drive: string
  /** Its place. */
  path: string
  /** Whether its name says that it is not whole. */
  aside: boolean
  /** Whether the target existed before, and has the damaged drive now. */
  before: boolean
}

class ClusterWriter implements SinkBody<RangeItem> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #targets: Targets
  readonly #inFlight = new Set<Promise<void>>()
  /** The errors of drives that were given up, by dev_id. */
  readonly #failures = new Map<number, VmapipeError>()
  #begun = false

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#targets = new Targets(options, context)
  }

  async write(item: RangeItem): Promise<void> {
    if (item.kind === 'manifest') {
      this.#begun = true
      return this.#targets.open(item)
    }
    const { drives } = this.#targets
    if (drives.size === 0) this.#fail()
    const writer = drives.get(item.drive)
    if (writer === undefined || (item.data === null && writer.isZero)) {
      item.release()
      return
    }
    while (this.#inFlight.size >= DEPTH) await Promise.race(this.#inFlight)
    this.#start(item, writer)
  }

  async final(): Promise<void> {
    if (!this.#begun) throw new VmapipeError('INCOMPLETE', 'nothing came, not even a manifest')
    await Promise.all(this.#inFlight)
    const { drives, files } = this.#targets
    await this.#each((id, writer) => this.#zeroMissing(id, writer))
    await Promise.all([...drives].map(([id, writer]) => this.#attempt(id, () => writer.flush())))
    await this.#each((id, writer) => this.#publish(id, writer))
    if (drives.size > 0 || this.#failures.size === 0) {
      this.#targets.keep()
      await Promise.all(files.map((file) => file.flush()))
      for (const file of files) await file.publish()
    }
    const { onFailed } = this.#options
    if (onFailed === undefined) this.#fail()
    else for (const failure of this.#failures.values()) onFailed(failure)
  }

  async #each(work: (id: number, writer: DriveWriter) => Promise<void>): Promise<void> {
    for (const [id, writer] of [...this.#targets.drives]) await this.#attempt(id, () => work(id, writer))
  }

  async #attempt(id: number, work: () => Promise<void>): Promise<void> {
    await work().catch((error) => this.#giveUp(id, error))
    this.#context.signal.throwIfAborted()
  }

  /** Gives up a drive: its ranges are dropped from now on. If the run is aborted, no drive has failed. */
  #giveUp(id: number, error: unknown): void {
    if (this.#context.signal.aborted || this.#failures.has(id)) return
    const failure = asVmapipeError(error)
    failure.stage ??= this.#context.name
    failure.where.drive ??= this.#targets.names.get(id)
    this.#failures.set(id, failure)
    this.#targets.giveUp(id, Promise.allSettled(this.#inFlight))
    if (this.#targets.drives.size > 0) this.#context.warn(`${failure.line}; the other drives are restored`)
  }

  #fail(): void {
    const [first, ...others] = this.#failures.values()
    if (first === undefined) return
    first.suppressed.push(...others)
    throw first
  }

  /** Writes zeroes in the place of ranges that did not come, because the target may have other content there. */
  async #zeroMissing(id: number, writer: DriveWriter): Promise<void> {
    const found = this.#options.findings?.drives.get(id)
    if (found === undefined || writer.isZero) return
    for (const { offset, length } of found.missing()) {
      for (let at = 0; at < length; at += ZERO_AT_ONCE) {
        this.#context.signal.throwIfAborted()
        await writer.zero(offset + at, Math.min(ZERO_AT_ONCE, length - at))
      }
    }
  }

  async #publish(id: number, writer: DriveWriter): Promise<void> {
    const { findings, salvage, onUnsound } = this.#options
    const found = findings?.drives.get(id)
    const sound = found === undefined || found.isSound
    const path = await writer.publish(sound || salvage ? '' : DAMAGED)
    if (sound) return
    const { name } = found.info
    onUnsound?.({
      drive: name,
      path: path ?? this.#targets.places.get(id)!,
      aside: path !== null && !salvage,
      before: path === null,
    })
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
    await this.#targets.close()
  }

  #start(range: Range, writer: DriveWriter): void {
    const done = this.#carryOut(range, writer).finally(() => this.#inFlight.delete(done))
    this.#inFlight.add(done)
  }

  async #carryOut({ drive, offset, length, data, leases }: Range, writer: DriveWriter): Promise<void> {
    try {
      if (data === null) await writer.zero(offset, length)
      else await writer.write(data, offset)
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.offset ??= offset
      return this.#giveUp(drive, failure)
    } finally {
      for (const lease of leases) lease.release()
    }
    if (data !== null) this.#context.counters.add('written', length)
  }
}
