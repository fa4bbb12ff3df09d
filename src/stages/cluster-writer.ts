/**
 * Writes ranges to drives, several writes in flight. Files get their names only when every drive is complete and
 * synced; until then, and after any error, there is nothing under a final name. Of what was read past damage, a drive that
 * is not whole gets a name that says so.
 */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Range, RangeItem } from '../core/items.ts'
import { defineStage, type SinkBody, type StageContext, z } from '../core/stage.ts'
import type { DriveWriter } from '../storage/drive.ts'
import { Targets } from './cluster-writer/targets.ts'
import { Findings } from './findings.ts'

const options = z.strictObject({
  into: z.string().min(1).optional().describe('folder for the drives and config files of the archive; made if need be'),
  drives: z
    .record(z.string(), z.string().min(1))
    .default({})
    .describe('drives by name, and where each is written; without `into`, only these'),
  configs: z.boolean().default(true).describe('write the config files too (into the folder)'),
  force: z.boolean().default(false).describe('overwrite what exists'),
  zeroed: z
    .union([z.boolean(), z.array(z.string())])
    .default(false)
    .describe('these drives (or all) read as zeroes already, so that zeroes need not be written'),
  findings: z.instanceof(Findings).optional().describe('in code: which drives are not whole'),
  salvage: z
    .custom<boolean>((value) => typeof value === 'boolean')
    .optional()
    .describe('in code: drives that are not whole get their names too'),
  onUnsound: z
    .custom<(drive: UnsoundDrive) => void>((value) => typeof value === 'function')
    .optional()
    .describe('in code: is told of each drive that is not whole, and where it is'),
})

type Options = z.output<typeof options>

export const clusterWriter = defineStage({
  name: 'cluster-writer',
  summary: 'writes drives: files in a folder, devices, images, NBD exports',
  input: 'ranges',
  output: 'nothing',
  options,
  create(options, context) {
    if (options.into === undefined && Object.keys(options.drives).length === 0) {
      throw new VmapipeError('USAGE', 'nothing says where to restore to', { hint: 'give a folder, or drives' })
    }
    return new ClusterWriter(options, context)
  },
})

/** Writes in flight over all drives. */
const DEPTH = 8

const ZERO_AT_ONCE = 1 << 30

/** What the name of a drive ends with that is not whole. */
const DAMAGED = '.damaged'

export interface UnsoundDrive {
  drive: string
  /** Where it is. */
  path: string
  /** Under a name that says so. */
  aside: boolean
  /** The target existed before, and holds the damaged drive now. */
  before: boolean
}

class ClusterWriter implements SinkBody<RangeItem> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #targets: Targets
  readonly #inFlight = new Set<Promise<void>>()
  #failed: unknown = null
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
    const writer = this.#targets.drives.get(item.drive)
    if (writer === undefined || (item.data === null && writer.isZero)) {
      item.release()
      return
    }
    while (this.#inFlight.size >= DEPTH) await Promise.race(this.#inFlight)
    if (this.#failed !== null) throw this.#failed
    this.#start(item, writer)
  }

  async final(): Promise<void> {
    if (!this.#begun) throw new VmapipeError('INCOMPLETE', 'nothing came, not even a manifest')
    await Promise.all(this.#inFlight)
    if (this.#failed !== null) throw this.#failed
    const { drives, files } = this.#targets
    for (const [id, writer] of drives) await this.#zeroMissing(id, writer)
    await Promise.all([...drives.values(), ...files].map((writer) => writer.flush()))
    for (const [id, writer] of drives) await this.#publish(id, writer)
    for (const writer of files) await writer.publish()
    this.#targets.keep()
  }

  /** What did not come is zeroes, also where the target had something else. */
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
    const done = this.#carryOut(range, writer).then(
      () => {
        this.#inFlight.delete(done)
      },
      (error) => {
        this.#failed ??= error
        this.#inFlight.delete(done)
      },
    )
    this.#inFlight.add(done)
  }

  async #carryOut({ drive, offset, length, data, leases }: Range, writer: DriveWriter): Promise<void> {
    try {
      if (data === null) await writer.zero(offset, length)
      else await writer.write(data, offset)
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.drive ??= this.#targets.names.get(drive)
      failure.where.offset ??= offset
      throw failure
    } finally {
      for (const lease of leases) lease.release()
    }
    if (data !== null) this.#context.counters.add('written', length)
  }
}
