/**
 * Unpacks an archive that can only be read from front to back: its drives are written to sparse files and read from there. The files
 * have no names, so that nothing is left of them whatever ends the process.
 */

import { type FileHandle, statfs } from 'node:fs/promises'
import { type Archive, OpenArchive } from '../access/archive.ts'
import { SharedDrive } from '../access/image-reader.ts'
import type { Keyring } from '../codecs/age/keyring.ts'
import type { Budget } from '../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import type { DriveInfo, Manifest, RangeItem } from '../core/items.ts'
import { definePipeline, type RunOptions } from '../core/pipeline.ts'
import { runOptionsOf } from '../core/run-options.ts'
import { formatBytes } from '../core/size.ts'
import { defineStage, z } from '../core/stage.ts'
import type { ReadableLike } from '../core/stream-kinds.ts'
import { refuseIncremental } from '../formats/vma/header.ts'
import { driveNamed } from '../formats/vma/names.ts'
import { decompressor } from '../stages/decompressor.ts'
import { decryptor } from '../stages/decryptor.ts'
import { source } from '../stages/source.ts'
import { vmaDeframer } from '../stages/vma-deframer.ts'
import { zeroExpander } from '../stages/zero-expander.ts'
import { makeFolder } from '../storage/folder.ts'
import { namelessFile } from '../storage/nameless-file.ts'
import { RawReader } from '../storage/raw-drive.ts'
import { writeAll } from '../system/write-all.ts'

interface SpoolOptions extends Omit<RunOptions, 'buffer'> {
  /** The folder of the sparse files. It is made if it does not exist. */
  folder: string
  /** Names of the wanted drives; all by default. */
  only?: readonly string[]
  /** The reason for unpacking, for the message with the size. */
  why: string
  /** Whether the archive can be read again. If it seems too large, a first pass then measures its data. */
  again: boolean
  /** What opens the archive if it is encrypted. */
  keys: Keyring
  /** Memory for the pass, and afterwards for reading. */
  budget: Budget
}

/** Reads the whole archive. Drives that were not wanted cannot be opened. The errors are those of a restore. */
export async function spoolArchive(from: string | ReadableLike, options: SpoolOptions): Promise<Archive> {
  const { folder, only, budget, why, again, keys, warn = () => {}, ...runOptions } = options
  const run = async (last: RangeStage) => {
    const stages = [source({ from }), decryptor({ keys }), decompressor({}), vmaDeframer({}), zeroExpander({}), last]
    await definePipeline(stages).run({ ...runOptionsOf(runOptions), warn, buffer: budget.capacity })
  }
  const spool = new Spool(folder, { only, why, mustFit: again, warn })
  try {
    await makeFolder(folder)
    await run(spool.stage).catch(async (error) => {
      if (!spool.isTooLarge) throw error
      // Drives have holes: a pass that writes nothing measures how much data they have.
      const measure = new Measure(only)
      await run(measure.stage)
      await spool.retry(measure.bytes)
      await run(spool.stage)
    })
    if (spool.manifest === null) throw new VmapipeError('INCOMPLETE', 'the archive is empty')
    const drives = new Map<number, RawReader>()
    for (const [id, { file, size }] of spool.files) drives.set(id, new RawReader(folder, file, size, await file.stat()))
    const open = ({ id }: DriveInfo) => new SharedDrive(drives.get(id)!, budget)
    return new OpenArchive(spool.manifest, open, async () => {
      for (const drive of drives.values()) await drive.close()
      await spool.close()
    })
  } catch (error) {
    await spool.close()
    throw error
  }
}

type RangeStage = ReturnType<typeof lastStage>

function lastStage(write: (item: RangeItem) => Promise<void> | void) {
  return defineStage({
    name: 'spool',
    summary: 'keeps drives in sparse files without names',
    input: 'ranges',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({ write }),
  })({})
}

function wantedOf({ drives }: Manifest, only: readonly string[] | undefined): DriveInfo[] {
  if (only === undefined) return drives
  const wanted = new Set(only.map((name) => driveNamed(drives, name)))
  return drives.filter((drive) => wanted.has(drive))
}

/** Counts the bytes of data in the wanted drives. */
class Measure {
  bytes = 0
  readonly #only: readonly string[] | undefined
  #wanted = new Set<number>()
  readonly stage = lastStage((item) => {
    if (item.kind === 'manifest') this.#wanted = new Set(wantedOf(item, this.#only).map(({ id }) => id))
    else if (item.data !== null && this.#wanted.has(item.drive)) this.bytes += item.length
    item.release()
  })

  constructor(only: readonly string[] | undefined) {
    this.#only = only
  }
}

interface SpoolWish {
  only: readonly string[] | undefined
  why: string
  /** Do not begin if the drives' sizes do not fit: their data can be measured. */
  mustFit: boolean
  warn: (message: string) => void
}

class Spool {
  readonly #folder: string
  readonly #wish: SpoolWish
  /** The bytes of data, or null if they were not measured. */
  #measured: number | null = null
  readonly files = new Map<number, { file: FileHandle; size: number }>()
  manifest: Manifest | null = null
  isTooLarge = false
  readonly stage = lastStage((item) => this.#write(item))

  constructor(folder: string, wish: SpoolWish) {
    this.#folder = folder
    this.#wish = wish
  }

  /** Prepares a second attempt, with the measured size. Throws FAILED if it does not fit. */
  async retry(measured: number): Promise<void> {
    this.#measured = measured
    this.isTooLarge = false
    const free = await freeIn(this.#folder)
    if (measured > free) throw this.#doesNotFit(measured, free)
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
      throw asVmapipeError(error, { file: this.#folder, hint: ANOTHER_FOLDER })
    } finally {
      item.release()
    }
  }

  async #begin(manifest: Manifest): Promise<void> {
    refuseIncremental(manifest)
    const drives = wantedOf(manifest, this.#wish.only)
    await this.#announce(drives)
    this.manifest = manifest
    for (const { id, size } of drives) {
      const file = await namelessFile(this.#folder)
      this.files.set(id, { file, size })
      await file.truncate(size)
    }
  }

  async #announce(drives: readonly DriveInfo[]): Promise<void> {
    const { why, mustFit, warn } = this.#wish
    const most = drives.reduce((sum, { size }) => sum + size, 0)
    const free = await freeIn(this.#folder)
    if (this.#measured === null && mustFit && most > free) {
      this.isTooLarge = true
      throw this.#doesNotFit(most, free)
    }
    const amount = this.#measured === null ? `up to ${formatBytes(most)}` : formatBytes(this.#measured)
    const doubt = this.#measured === null && most > free ? `; only ${formatBytes(free)} are free there` : ''
    warn(`${why}: it is unpacked into a temporary file in '${this.#folder}' first, ${amount}${doubt}`)
  }

  #doesNotFit(bytes: number, free: number): VmapipeError {
    const message = `no space left: ${formatBytes(bytes)} must be unpacked, ${formatBytes(free)} are free there`
    return new VmapipeError('FAILED', message, { file: this.#folder, hint: ANOTHER_FOLDER })
  }
}

const ANOTHER_FOLDER =
  'name a folder that has room with --spool, or make another archive with `vmapipe repack --keep-order`'

async function freeIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
