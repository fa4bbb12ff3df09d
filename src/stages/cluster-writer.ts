/**
 * Writes ranges to drives, several writes in flight. Files get their names only when every drive is complete and
 * synced; until then, and after any error, there is nothing under a final name.
 */

import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { Manifest, Range, RangeItem } from '../core/items.ts'
import { defineStage, type SinkBody, type StageContext, z } from '../core/stage.ts'
import { restoreNames } from '../formats/vma/names.ts'
import type { DriveWriter } from '../storage/drive.ts'
import { makeFolder } from '../storage/folder.ts'
import { openDriveWriter } from '../storage/open.ts'
import { NAME_MAX } from '../storage/partial-name.ts'
import { createRawFile } from '../storage/raw-writer.ts'

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

class ClusterWriter implements SinkBody<RangeItem> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #names = new Map<number, string>()
  readonly #writers = new Map<number, DriveWriter>()
  /** Config files: written like drives, whole, when the manifest comes. */
  readonly #files: DriveWriter[] = []
  readonly #inFlight = new Set<Promise<void>>()
  #failed: unknown = null
  #madeFolders: string[] = []
  #begun = false
  #published = false

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
  }

  async write(item: RangeItem): Promise<void> {
    if (item.kind === 'manifest') return this.#begin(item)
    const writer = this.#writers.get(item.drive)
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
    const all = [...this.#writers.values(), ...this.#files]
    await Promise.all(all.map((writer) => writer.flush()))
    for (const writer of all) await writer.publish()
    this.#published = true
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
    for (const writer of [...this.#writers.values(), ...this.#files]) await writer.close()
    if (this.#published) return
    // Not empty when somebody else put something there.
    for (const folder of this.#madeFolders) await rmdir(folder).catch(() => {})
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
      failure.where.drive ??= this.#names.get(drive)
      failure.where.offset ??= offset
      throw failure
    } finally {
      for (const lease of leases) lease.release()
    }
    if (data !== null) this.#context.counters.add('written', length)
  }

  async #begin(manifest: Manifest): Promise<void> {
    this.#begun = true
    const { into, drives, configs } = this.#options
    // Checked even where only some drives are wanted: what `verify` refuses, this refuses.
    const files = restoreNames(manifest)
    for (const name of Object.keys(drives)) this.#checkWanted(name, manifest)
    if (into !== undefined) this.#madeFolders = await makeFolder(into)
    for (const { id, name, size } of manifest.drives) {
      const writer = await this.#openDrive(name, size, files.drives.get(id)!)
      if (writer === null) continue
      this.#names.set(id, name)
      this.#writers.set(id, writer)
    }
    if (into === undefined || !configs) return
    for (const [index, { data }] of manifest.configs.entries()) await this.#writeConfig(files.configs[index], data)
  }

  #checkWanted(name: string, { drives }: Manifest): void {
    if (drives.some((drive) => drive.name === name)) return
    const known = drives.map((drive) => drive.name).join(', ')
    throw new VmapipeError('USAGE', `the archive has no drive '${name}'`, { hint: `it has ${known || 'none'}` })
  }

  /** Null for a drive that is not wanted. `file` is its name in the folder. */
  async #openDrive(name: string, size: number, file: string): Promise<DriveWriter | null> {
    const { into, drives, force, zeroed } = this.#options
    const { signal, warn } = this.#context
    const isZero = Array.isArray(zeroed) ? zeroed.includes(name) : zeroed
    // A name out of an archive may be that of any property.
    const target = Object.hasOwn(drives, name) ? drives[name] : undefined
    if (target === undefined && into === undefined) return null
    const path = target ?? inFolder(into!, file)
    try {
      if (target === undefined) return await this.#newFile(path, size)
      return await openDriveWriter(path, { size, force, isZero, signal, warn })
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.drive ??= name
      throw failure
    }
  }

  async #writeConfig(name: string, data: Uint8Array): Promise<void> {
    const writer = await this.#newFile(inFolder(this.#options.into!, name), data.byteLength)
    this.#files.push(writer)
    if (data.byteLength > 0) await writer.write([data], 0)
  }

  /** In the folder there are files alone: a link to a device that somebody planted there is not followed. */
  #newFile(path: string, size: number): Promise<DriveWriter> {
    return createRawFile(path, size, { force: this.#options.force, warn: this.#context.warn })
  }
}

/** Where a file of this name goes. The name was found safe before; it may still be too long for a filesystem. */
function inFolder(folder: string, name: string): string {
  if (Buffer.byteLength(name) > NAME_MAX) {
    const message = `'${name.slice(0, 40)}…' is too long for the name of a file`
    throw new VmapipeError('FAILED', message, {
      hint: 'say where its drive goes with --drive NAME=TARGET, without a folder',
    })
  }
  return join(folder, name)
}
