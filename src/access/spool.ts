/**
 * An archive that can only be read once, from front to back: its drives are unpacked into sparse files, and read from
 * there. The files have no names, so that nothing is left of them however we end.
 */

import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Budget } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { DriveInfo, Manifest, RangeItem } from '../core/items.ts'
import { definePipeline, type RunOptions } from '../core/pipeline.ts'
import { defineStage, z } from '../core/stage.ts'
import { driveNamed } from '../formats/vma/names.ts'
import { decompressor } from '../stages/decompressor.ts'
import { source } from '../stages/source.ts'
import { vmaDeframer } from '../stages/vma-deframer.ts'
import { zeroExpander } from '../stages/zero-expander.ts'
import { makeFolder } from '../storage/folder.ts'
import { RawReader } from '../storage/raw-reader.ts'
import { writeAll } from '../storage/write-all.ts'
import { type Archive, OpenArchive } from './archive.ts'
import { SharedDrive } from './image-reader.ts'

export interface SpoolOptions extends Omit<RunOptions, 'buffer'> {
  /** Where the sparse files are; made if need be. */
  folder: string
  /** Drives that are wanted; all unless given. */
  only?: readonly string[]
  /** For the pass, and afterwards for reading. */
  budget: Budget
}

/** Reads all of the archive. Drives that were not wanted cannot be opened. Errors: as those of a restore. */
export async function spoolArchive(from: string | Readable, options: SpoolOptions): Promise<Archive> {
  const { folder, only, budget, ...runOptions } = options
  const spool = new Spool(folder, only)
  const stages = [source({ from }), decompressor({}), vmaDeframer({}), zeroExpander({}), spool.stage]
  try {
    await makeFolder(folder)
    await definePipeline(stages).run({ ...runOptions, buffer: budget.capacity })
    if (spool.manifest === null) throw new VmapipeError('INCOMPLETE', 'the archive is empty')
    const drives = new Map<number, RawReader>()
    for (const [id, { file, size }] of spool.files) drives.set(id, new RawReader(folder, file, size, await file.stat()))
    const open = ({ id }: DriveInfo) => new SharedDrive(drives.get(id)!, budget)
    return new OpenArchive(spool.manifest, open, () => spool.close())
  } catch (error) {
    await spool.close()
    throw error
  }
}

class Spool {
  readonly #folder: string
  readonly #only: readonly string[] | undefined
  readonly files = new Map<number, { file: FileHandle; size: number }>()
  manifest: Manifest | null = null

  constructor(folder: string, only: readonly string[] | undefined) {
    this.#folder = folder
    this.#only = only
  }

  get stage() {
    return defineStage({
      name: 'spool',
      summary: 'keeps drives in sparse files without names',
      input: 'ranges',
      output: 'nothing',
      options: z.strictObject({}),
      create: () => ({ write: (item: RangeItem) => this.#write(item) }),
    })({})
  }

  async close(): Promise<void> {
    for (const { file } of this.files.values()) await file.close()
    this.files.clear()
  }

  async #write(item: RangeItem): Promise<void> {
    try {
      if (item.kind === 'manifest') await this.#begin(item)
      else if (item.data !== null) {
        const target = this.files.get(item.drive)
        if (target !== undefined) await writeAll(target.file, item.data, item.offset)
      }
    } catch (error) {
      throw asVmapipeError(error, {
        file: this.#folder,
        hint: 'is there room for what is unpacked? another folder: --spool',
      })
    } finally {
      item.release()
    }
  }

  async #begin(manifest: Manifest): Promise<void> {
    this.manifest = manifest
    const { drives } = manifest
    const chosen = this.#only?.map((name) => driveNamed(drives, name)) ?? drives
    const wanted = new Set(chosen.map((drive) => drive?.id))
    for (const { id, size } of drives) {
      if (!wanted.has(id)) continue
      const file = await namelessFile(this.#folder)
      this.files.set(id, { file, size })
      await file.truncate(size)
    }
  }
}

async function namelessFile(folder: string): Promise<FileHandle> {
  const path = join(folder, `.vmapipe-spool-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}
