/**
 * An archive as a file: it gets its name when it is complete and durable. It is readable by its owner alone, as it
 * holds whole disks.
 */

import { realpath } from 'node:fs/promises'
import { asVmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { PartialFile } from '../partial-file.ts'
import { writeAll } from '../write-all.ts'
import type { ArchiveTarget, TargetOptions } from './target.ts'

export class FileTarget implements ArchiveTarget {
  readonly #path: string
  readonly #options: TargetOptions
  #file: PartialFile | null = null
  #position = 0

  constructor(path: string, options: TargetOptions) {
    this.#path = path
    this.#options = options
  }

  /** Through a symbolic link to the file it means; that one is replaced, not the link. */
  async open(): Promise<void> {
    const path = await realpath(this.#path).catch(() => this.#path)
    this.#file = await PartialFile.create(path, this.#options, { mode: 0o600 })
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

  async finish(): Promise<void> {
    await this.#file!.handle.sync()
    await this.#file!.publish()
    await this.abort()
  }

  async abort(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }
}
