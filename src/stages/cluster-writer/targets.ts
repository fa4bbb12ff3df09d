/** Opens the targets of drives and config files when the manifest comes, and removes them unless they are kept. */

import { rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bytesOf } from '../../core/byte-text.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { DriveInfo, Manifest } from '../../core/items.ts'
import type { StageContext } from '../../core/stage.ts'
import { driveNamed, restoreNames } from '../../formats/vma/names.ts'
import type { DriveWriter } from '../../storage/drive.ts'
import { folderMode, parseMode } from '../../storage/file-mode.ts'
import { makeDurableFolder } from '../../storage/folder.ts'
import { refuseOneDiskTwice } from '../../storage/guard/same-disk.ts'
import { openDriveWriter } from '../../storage/open.ts'
import { NAME_MAX } from '../../storage/partial-name.ts'
import { createRawFile } from '../../storage/raw-drive.ts'
import type { ImageFormat } from '../../storage/spec.ts'
import { imageFormats } from './formats.ts'

interface DriveTargetOptions {
  into?: string | undefined
  drives: Record<string, string>
  configs: boolean
  format?: string | undefined
  force: boolean
  mode?: string | undefined
  zeroed: boolean | string[]
}

/** An image in the folder. */
interface ImageFile {
  name: string
  format: string | undefined
}

export class Targets {
  /** The writers of drives, by dev_id. */
  readonly names = new Map<number, string>()
  readonly drives = new Map<number, DriveWriter>()
  /** The targets that the user gave, by drive. */
  readonly places = new Map<number, string>()
  /** The writers of config files, which are written like drives, as a whole, when the manifest comes. */
  readonly files: DriveWriter[] = []
  readonly #givenUp: Promise<void>[] = []
  readonly #options: DriveTargetOptions
  readonly #context: StageContext
  readonly #mode: number
  #madeFolders: string[] = []

  constructor(options: DriveTargetOptions, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#mode = parseMode(options.mode ?? '0600')
  }

  /** Keeps the folders that were made. */
  keep(): void {
    this.#madeFolders = []
  }

  /** Gives up a drive. Its space on the disk is freed as soon as the writes under way have ended. */
  giveUp(id: number, settled: Promise<unknown>): void {
    const writer = this.drives.get(id)
    if (writer === undefined) return
    this.drives.delete(id)
    this.#givenUp.push(settled.then(() => writer.close()).catch(() => {}))
  }

  async close(): Promise<void> {
    const writers = [...this.drives.values(), ...this.files]
    const closed = await Promise.allSettled(writers.map((writer) => writer.close()))
    await Promise.all(this.#givenUp)
    // A folder is not empty if another program has put something there.
    for (const folder of this.#madeFolders) await rmdir(folder).catch(() => {})
    for (const outcome of closed) if (outcome.status === 'rejected') throw outcome.reason
  }

  /** Opens all targets. Throws USAGE for drives that the archive does not have, DAMAGED for names that no file may have. */
  async open(manifest: Manifest): Promise<void> {
    const { into, drives, configs, format } = this.#options
    // Checks all names even if only some drives are wanted, so that a restore refuses the same archives as `verify`.
    const formats = into === undefined ? new Map() : imageFormats(manifest, { format, warn: this.#context.warn })
    const files = restoreNames(manifest, formats)
    const targets = new Map<DriveInfo, string>()
    for (const [name, target] of Object.entries(drives)) {
      const drive = this.#wanted(name, manifest)
      if (targets.has(drive)) throw new VmapipeError('USAGE', `the drive '${drive.name}' has two targets`)
      targets.set(drive, target)
    }
    await refuseOneDiskTwice([...targets].map(([{ name }, target]) => [name, target]))
    if (into !== undefined) this.#madeFolders = await makeDurableFolder(into, folderMode(this.#mode))
    for (const drive of manifest.drives) {
      const file = { name: files.drives.get(drive.id)!, format: formats.get(drive.id) }
      const writer = await this.#openDrive(drive, targets.get(drive), file)
      if (writer === null) continue
      this.names.set(drive.id, drive.name)
      if (targets.has(drive)) this.places.set(drive.id, targets.get(drive)!)
      this.drives.set(drive.id, writer)
    }
    if (into === undefined || !configs) return
    for (const note of files.notes) this.#context.warn(note)
    for (const [index, { data }] of manifest.configs.entries()) {
      const file = files.configs[index]
      if (file !== null) await this.#writeConfig(file, data)
    }
  }

  #wanted(name: string, { drives }: Manifest): DriveInfo {
    const drive = driveNamed(drives, name)
    if (drive !== undefined) return drive
    const known = drives.map((drive) => drive.name).join(', ')
    throw new VmapipeError('USAGE', `the archive has no drive '${name}'`, { hint: `it has ${known || 'none'}` })
  }

  /** Opens the target of a drive; null if the drive is not wanted. `file` is what it is in the folder. */
  async #openDrive(drive: DriveInfo, target: string | undefined, file: ImageFile): Promise<DriveWriter | null> {
    const { name, size } = drive
    const { into, force, zeroed } = this.#options
    const { signal, warn } = this.#context
    const isZero = Array.isArray(zeroed) ? zeroed.some((wanted) => driveNamed([drive], wanted)) : zeroed
    if (target === undefined && into === undefined) return null
    const path = target ?? inFolder(into!, file.name)
    try {
      if (target === undefined) return await this.#newImage(path, size, file.format)
      return await openDriveWriter(path, { size, force, mode: this.#mode, isZero, signal, warn })
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.drive ??= name
      throw failure
    }
  }

  async #writeConfig(name: string, data: Uint8Array): Promise<void> {
    const writer = await this.#newFile(inFolder(this.#options.into!, name), data.byteLength)
    this.files.push(writer)
    if (data.byteLength > 0) await writer.write([data], 0)
  }

  /** `format`: raw unless given. */
  async #newImage(path: string, size: number, format?: string): Promise<DriveWriter> {
    if (format === undefined || format === 'raw') return this.#newFile(path, size)
    const { force } = this.#options
    const { signal, warn } = this.#context
    const { createImage } = await import('../../storage/image-drive.ts')
    return createImage(format as ImageFormat, path, size, { force, mode: this.#mode, signal, warn })
  }

  /** Only files are written in the folder: a link to a device, which another user may have put there, is not followed. */
  #newFile(path: string, size: number): Promise<DriveWriter> {
    return createRawFile(path, size, { force: this.#options.force, mode: this.#mode, warn: this.#context.warn })
  }
}

/** The path of a file in the folder. Its name was checked before, but it may be too long for a filesystem. */
function inFolder(folder: string, name: string): string {
  if (bytesOf(name).length > NAME_MAX) {
    const message = `'${name.slice(0, 40)}…' is too long for the name of a file`
    throw new VmapipeError('FAILED', message, {
      hint: 'name the target of its drive by --drive NAME=TARGET, without a folder',
    })
  }
  return join(folder, name)
}
