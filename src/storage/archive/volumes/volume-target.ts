/**
 * An archive in several files of a given size. All of them have temporary names until the last one is durable. Then they get their names,
 * the first volume last: whoever finds that one finds all.
 */

import { readdir, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { totalLength } from '../../../core/items.ts'
import { formatBytes } from '../../../core/size.ts'
import { writeAll } from '../../../system/write-all.ts'
import { PartialFile } from '../../partial-file.ts'
import { type ArchiveTarget, FILE_DEPTH, type TargetOptions } from '../endpoint.ts'
import { formatList, markOf, type Volume } from './list.ts'
import { listName, MOST_VOLUMES, parseVolumeName, volumeName } from './names.ts'
import { readList } from './volume-set.ts'

interface OpenVolume {
  path: string
  file: PartialFile
  size: number
}

/** Bytes of one write that are in one volume. */
interface Part {
  volume: OpenVolume
  bytes: Uint8Array[]
  position: number
}

export class VolumeTarget implements ArchiveTarget {
  readonly #base: string
  readonly #most: number
  readonly #options: TargetOptions
  readonly #volumes: OpenVolume[] = []
  #list: PartialFile | null = null
  /** Resolves when all earlier writes have their places. */
  #placed: Promise<unknown> = Promise.resolve()
  readonly depth = FILE_DEPTH

  /** `base` is the archive's name, and `most` the size of a volume in bytes. */
  constructor(base: string, most: number, options: TargetOptions) {
    this.#base = base
    this.#most = most
    this.#options = options
  }

  async open(): Promise<void> {
    if (!this.#options.force) await this.#refuseExisting()
    this.#list = await PartialFile.create(listName(this.#base), this.#options)
    await this.#begin()
  }

  /** A write whose place is not known fails those behind it. */
  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const placed = this.#placed.then(() => this.#place(buffers))
    this.#placed = placed
    for (const { volume, bytes, position } of await placed) {
      try {
        await writeAll(volume.file.handle, bytes, position)
      } catch (error) {
        throw asVmapipeError(error, { file: volume.path, offset: position })
      }
    }
  }

  async settle(): Promise<void> {
    for (const { file } of this.#volumes) await file.handle.sync()
  }

  async finish(): Promise<void> {
    await this.settle()
    const volumes: Volume[] = []
    for (const { file, size } of this.#volumes) volumes.push({ size, mark: await markOf(file.handle, size) })
    await writeAll(this.#list!.handle, [Buffer.from(formatList(volumes))], 0)
    await this.#list!.handle.sync()
    const stale = await this.#staleVolumes()
    await this.#publish()
    for (const path of stale)
      await unlink(path).catch(() => this.#options.warn?.(`'${path}' of the old archive is left`))
  }

  async abort(): Promise<void> {
    await this.#placed.catch(() => {})
    for (const { file } of this.#volumes.splice(0)) await file.close()
    await this.#list?.close()
    this.#list = null
  }

  /** Gives the bytes their places in the volumes, and begins new volumes for those that do not fit. */
  async #place(buffers: readonly Uint8Array[]): Promise<Part[]> {
    const parts: Part[] = []
    for (let rest = buffers; totalLength(rest) > 0; ) {
      if (this.#volumes.at(-1)!.size === this.#most) await this.#begin()
      const volume = this.#volumes.at(-1)!
      const [bytes, later] = cut(rest, this.#most - volume.size)
      parts.push({ volume, bytes, position: volume.size })
      volume.size += totalLength(bytes)
      rest = later
    }
    return parts
  }

  async #begin(): Promise<void> {
    const number = this.#volumes.length
    if (number === MOST_VOLUMES) {
      throw new VmapipeError('FAILED', `the archive needs more than ${MOST_VOLUMES} volumes`, {
        file: this.#base,
        hint: `allow volumes of more than ${formatBytes(this.#most)}`,
      })
    }
    const path = volumeName(this.#base, number)
    this.#volumes.push({ path, file: await PartialFile.create(path, this.#options), size: 0 })
  }

  /** Gives all files their names. If one cannot get its name, the others lose theirs. */
  async #publish(): Promise<void> {
    const [first, ...others] = this.#volumes
    const published: string[] = []
    try {
      for (const file of [...others.map((volume) => volume.file).reverse(), this.#list!, first.file]) {
        published.push(await file.publish())
      }
    } catch (error) {
      for (const path of published) await unlink(path).catch(() => {})
      throw error
    }
  }

  /** Refuses at once what would be found when its number comes. */
  async #refuseExisting(): Promise<void> {
    const name = basename(this.#base)
    const names = await readdir(dirname(this.#base)).catch(() => [])
    const there = names.find((found) => parseVolumeName(found)?.base === name)
    if (there === undefined) return
    throw new VmapipeError('FAILED', `'${join(dirname(this.#base), there)}' exists and was not overwritten`, {
      hint: 'choose another name, or allow it with force',
    })
  }

  /** The volumes of the archive that is replaced which the new one has no more. */
  async #staleVolumes(): Promise<string[]> {
    const old = await readList(listName(this.#base)).catch(() => null)
    return (old ?? []).map((_, number) => volumeName(this.#base, number)).slice(this.#volumes.length)
  }
}

/** The first `length` bytes of the buffers, and the others. */
function cut(buffers: readonly Uint8Array[], length: number): [Uint8Array[], Uint8Array[]] {
  const now: Uint8Array[] = []
  const later: Uint8Array[] = []
  let room = length
  for (const buffer of buffers) {
    if (room > 0) now.push(buffer.subarray(0, room))
    if (buffer.byteLength > room) later.push(buffer.subarray(room))
    room = Math.max(0, room - buffer.byteLength)
  }
  return [now, later]
}
