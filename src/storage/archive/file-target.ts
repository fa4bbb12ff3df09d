/**
 * Writes an archive to a file, which gets its name when it is complete and durable. Only its owner can read it, because it
 * has whole disks in it.
 */

import { isUtf8 } from 'node:buffer'
import { lstat, realpath } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { writeAll } from '../../system/write-all.ts'
import { PartialFile } from '../partial-file.ts'
import { type ArchiveTarget, FILE_DEPTH, type TargetOptions } from './endpoint.ts'

export class FileTarget implements ArchiveTarget {
  readonly depth = FILE_DEPTH
  readonly #path: string
  readonly #options: TargetOptions
  #file: PartialFile | null = null
  #position = 0

  constructor(path: string, options: TargetOptions) {
    this.#path = path
    this.#options = options
  }

  /** Follows a symbolic link: the file that it leads to is replaced, not the link. A link in the place of a small file of ours is no user's. */
  async open(): Promise<void> {
    const { lastWins } = this.#options
    const path = lastWins ? this.#path : await meant(this.#path)
    this.#file = await PartialFile.create(path, this.#options, { lastWins })
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const position = this.#position
    this.#position += totalLength(buffers)
    try {
      await writeAll(this.#file!.handle, buffers, position)
    } catch (error) {
      throw asVmapipeError(error, { file: this.#path, offset: position })
    }
  }

  async settle(): Promise<void> {
    await this.#file!.handle.sync()
  }

  async finish(): Promise<void> {
    await this.#file!.publish()
    await this.abort()
  }

  async abort(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }
}

async function meant(path: string): Promise<string> {
  const isLink = await lstat(path).then(
    (stats) => stats.isSymbolicLink(),
    () => false,
  )
  if (!isLink) return path
  const found = await realpath(path, { encoding: 'buffer' }).catch(() => null)
  if (found === null) return path
  if (isUtf8(found)) return found.toString()
  throw new VmapipeError('USAGE', 'this link leads to a file whose name is not UTF-8', {
    file: path,
    hint: 'go to its folder, and name a file there',
  })
}
