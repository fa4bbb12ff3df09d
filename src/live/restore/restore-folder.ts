/**
 * The folder of a live restore. Until all images are complete, they are overlays over the archive in its subfolder `.restoring`. Then
 * a file `complete` with the archive's uuid is added there, and the images are renamed to their final names. When they are no longer
 * served, `.restoring` is removed. So a restore that was killed at any moment can be continued, and nothing incomplete ever has a
 * final name.
 */

import { constants } from 'node:fs'
import { chmod, lstat, open, readdir, readFile, rm, unlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pathOf } from '../../core/byte-text.ts'
import { asVmapipeError, typableName, VmapipeError } from '../../core/errors.ts'
import type { DriveInfo, Manifest } from '../../core/items.ts'
import { restoreNames } from '../../formats/vma/names.ts'
import type { Disk } from '../../storage/disk.ts'
import { openOverlay } from '../../storage/disks/overlay/open-overlay.ts'
import type { OverlayFiles } from '../../storage/disks/overlay/overlay-disk.ts'
import { openRawDisk } from '../../storage/disks/raw-disk.ts'
import { folderMode, OWNERS_ALONE } from '../../storage/file-mode.ts'
import { makeDurableFolder, refuseShared, syncFolder } from '../../storage/folder.ts'
import { within } from '../../storage/partial-entry.ts'
import { type PartialFileOptions, refuseToReplace, replaceUnused } from '../../storage/partial-file.ts'
import { createRawFile } from '../../storage/raw-drive.ts'
import { renameToNew } from '../../storage/rename-file.ts'

interface ImagePlace {
  /** Its final path, and where it is until then. */
  path: string
  partial: string
}

interface FolderOptions {
  force?: boolean | undefined
  /** Permissions of images and config files under their final names. */
  mode?: number | undefined
  warn?: ((message: string) => void) | undefined
}

interface How {
  force: boolean
  mode: number
}

export class RestoreFolder {
  readonly path: string
  readonly #state: string
  readonly #places: ReadonlyMap<number, ImagePlace>
  readonly #uuid: Uint8Array
  readonly #how: How
  #named = false

  private constructor(path: string, { uuid, ...manifest }: Manifest, names: Map<number, string>, how: How) {
    this.path = path
    this.#state = join(path, '.restoring')
    this.#uuid = uuid
    this.#how = how
    const place = (file: string) => ({ path: join(path, file), partial: join(this.#state, typableName(file)) })
    this.#places = new Map(manifest.drives.map(({ id }) => [id, place(names.get(id)!)]))
  }

  /** Goes on with a restore that was begun here, or begins one, with the config files. FAILED if something is in its way. */
  static async open(
    path: string,
    manifest: Manifest,
    { force = false, mode = OWNERS_ALONE, warn }: FolderOptions = {},
  ): Promise<RestoreFolder> {
    const names = restoreNames(manifest)
    const folder = new RestoreFolder(path, manifest, names.drives, { force, mode })
    await makeDurableFolder(path, folderMode(mode))
    await folder.#refuseShared()
    const state = await lookAt(folder.#state)
    if (state !== null && !state.isDirectory()) throw inTheWay(folder.#state)
    const isNew = state === null
    if (isNew) await folder.#refuseToReplace(force)
    for (const note of names.notes) warn?.(note)
    for (const [index, { data }] of manifest.configs.entries()) {
      const file = names.configs[index]
      if (file !== null) await writeConfig(join(path, file), data, { force, mode, ...(warn && { warn }) })
    }
    await makeDurableFolder(folder.#state)
    // Another process may have made it just before.
    await folder.#refuseShared()
    if (await folder.#isComplete()) await folder.#name()
    return folder
  }

  /** Whether all images have their final names, and only have to be served. */
  get isNamed(): boolean {
    return this.#named
  }

  openOverlay({ id, size }: DriveInfo): Promise<OverlayFiles> {
    const identity = { purpose: 'restore', uuid: this.#uuid, drive: id, size } as const
    return openOverlay(this.#places.get(id)!.partial, identity)
  }

  async openNamed({ id, size }: DriveInfo): Promise<Disk> {
    const file = this.#places.get(id)!.path
    const disk = await openRawDisk(file)
    if (disk.size === size) return disk
    await disk.close()
    throw new VmapipeError('FAILED', `the image has ${disk.size} bytes now, and the drive ${size}`, { file })
  }

  /** Renames the images to their final names. They must be complete and durable, and may stay open. */
  async finish(): Promise<void> {
    await writeDurably(this.#marker, this.#uuid)
    await syncFolder(this.#state, this.#marker)
    await this.#name()
  }

  /** Removes `.restoring`, when the images are no longer served. */
  async leave(): Promise<void> {
    if (!this.#named) return
    // FUSE and NFS let go of files that were open some time after they were closed.
    await rm(this.#state, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
    await syncFolder(this.path, this.path)
  }

  get #marker(): string {
    return join(this.#state, 'complete')
  }

  /** A restore that was killed while it wrote the marker has not begun to rename images. */
  async #isComplete(): Promise<boolean> {
    if (!(await exists(this.#marker))) return false
    const uuid = await readFile(this.#marker)
    if (uuid.length < this.#uuid.length) return false
    if (uuid.equals(this.#uuid)) return true
    throw new VmapipeError('USAGE', 'another archive was restored here', {
      file: this.path,
      hint: 'name another folder',
    })
  }

  async #name(): Promise<void> {
    for (const { path, partial } of this.#places.values()) await this.#nameImage(partial, path)
    await syncFolder(this.path, this.#state)
    for (const name of await readdir(this.#state, { encoding: 'buffer' })) {
      if (name.toString() !== basename(this.#marker)) await unlink(within(this.#state, name))
    }
    this.#named = true
  }

  async #nameImage(partial: string, path: string): Promise<void> {
    const [from, to] = [await lookAt(partial), await lookAt(path)]
    if (from === null) {
      if (to !== null) return
      throw new VmapipeError('DAMAGED', 'this image of a complete restore is gone', { file: path })
    }
    // A restore that was killed just here has renamed it already.
    if (to !== null && to.ino === from.ino && to.dev === from.dev) return unlink(partial)
    try {
      const { force, mode } = this.#how
      if (force) await refuseToReplace(path, force)
      if (mode !== OWNERS_ALONE) await chmod(partial, mode)
      await (force ? replaceUnused : renameToNew)(partial, path)
      await unlink(partial).catch((error) => {
        if (error.code !== 'ENOENT') throw error
      })
    } catch (error) {
      throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? inTheWay(path) : asVmapipeError(error, { file: path })
    }
  }

  #refuseShared(): Promise<void> {
    return refuseShared(this.path, [this.#state], 'name a new folder')
  }

  /** Refuses if a final name is taken, unless `force`; and in any case if a guest has the file open. */
  async #refuseToReplace(force: boolean): Promise<void> {
    for (const { path } of this.#places.values()) {
      if (!force && (await exists(path))) throw inTheWay(path)
      await refuseToReplace(path, force)
    }
  }
}

async function writeDurably(path: string, data: Uint8Array): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    await file.write(data)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function writeConfig(path: string, data: Uint8Array, how: PartialFileOptions): Promise<void> {
  const there = (await lookAt(path))?.size === data.byteLength ? await readFile(pathOf(path)) : null
  if (there?.equals(data)) return
  const writer = await createRawFile(path, data.byteLength, how)
  try {
    if (data.byteLength > 0) await writer.write([data], 0)
    await writer.flush()
    await writer.publish()
  } finally {
    await writer.close()
  }
}

function inTheWay(file: string): VmapipeError {
  return new VmapipeError('FAILED', `'${file}' exists and was not overwritten`, {
    file,
    hint: 'choose another folder, or allow it with --force',
  })
}

async function lookAt(path: string) {
  return lstat(pathOf(path)).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw asVmapipeError(error, { file: path })
  })
}

async function exists(path: string): Promise<boolean> {
  return (await lookAt(path)) !== null
}
