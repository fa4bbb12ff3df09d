/**
 * Reads the volumes of an archive on another host or in a bucket in any order, as if they were one file. An archive has up to 1000 of them, and
 * each that is open is a session or connections of its own. So only a few are open, and the one that was used last stays. The mark of
 * a volume is checked when it is opened, before anything of it is passed on.
 */

import { VmapipeError } from '../../../core/errors.ts'
import type { ArchiveBytes } from '../archive-bytes.ts'
import { openFarFile } from '../far-file.ts'
import type { RangeOptions } from '../place.ts'
import { placeText } from '../spec.ts'
import type { FarVolume } from './far-set.ts'
import { markOfBytes } from './list.ts'
import { VolumeLayout } from './volume-layout.ts'
import { foreignVolume } from './wrong-volume.ts'

/** Volumes that are open at once: a read may be of two, and a guest that runs on the archive goes back and forth. */
const MOST_OPEN = 4

/** Opens a volume, unless the signal aborts that. */
type Open<Volume> = (volume: Volume, signal: AbortSignal) => Promise<ArchiveBytes>

interface OpenVolume {
  bytes: Promise<ArchiveBytes>
  /** Reads that use it, or wait until it is open. */
  users: number
}

export class FarVolumeBytes<Volume extends { size: number }> implements ArchiveBytes {
  readonly #volumes: readonly Volume[]
  readonly #layout: VolumeLayout
  readonly #openVolume: Open<Volume>
  /** The volumes that are open or about to be, the one that was used last at the end. */
  readonly #open = new Map<Volume, OpenVolume>()
  /** Volumes that may still be opened, and those that wait for another to be closed. */
  #room = MOST_OPEN
  readonly #waiting: (() => void)[] = []
  /** Ends also the opening of a volume of a host that does not answer. */
  readonly #closing = new AbortController()

  constructor(volumes: readonly Volume[], open: Open<Volume>) {
    this.#volumes = volumes
    this.#openVolume = open
    this.#layout = new VolumeLayout(volumes.map(({ size }) => size))
  }

  get size(): number {
    return this.#layout.size
  }

  read(buffer: Uint8Array, offset: number): Promise<void> {
    return this.#layout.read(buffer, offset, (index, part, within) =>
      this.#readFrom(this.#volumes[index], part, within),
    )
  }

  async close(): Promise<void> {
    this.#closing.abort(closed())
    for (const wake of this.#waiting.splice(0)) wake()
    const open = [...this.#open.values()]
    this.#open.clear()
    await Promise.all(open.map(closeVolume))
  }

  async #readFrom(volume: Volume, buffer: Uint8Array, offset: number): Promise<void> {
    const used = this.#use(volume)
    try {
      const bytes = await used.bytes
      await bytes.read(buffer, offset)
    } finally {
      used.users--
      if (used.users === 0 && this.#waiting.length > 0) await this.#closeIdle()
    }
  }

  #use(volume: Volume): OpenVolume {
    if (this.#closing.signal.aborted) throw closed()
    const used = this.#open.get(volume) ?? { bytes: this.#begin(volume), users: 0 }
    this.#open.delete(volume)
    this.#open.set(volume, used)
    used.users++
    // A failure is not kept: the next read tries again.
    used.bytes.catch(() => this.#open.get(volume) === used && this.#open.delete(volume))
    return used
  }

  async #begin(volume: Volume): Promise<ArchiveBytes> {
    await this.#takeRoom()
    try {
      if (this.#closing.signal.aborted) throw closed()
      return await this.#openVolume(volume, this.#closing.signal)
    } catch (error) {
      this.#giveRoom()
      throw error
    }
  }

  async #takeRoom(): Promise<void> {
    if (this.#room === 0) {
      const woken = new Promise<void>((resolve) => this.#waiting.push(resolve))
      await this.#closeIdle()
      return woken
    }
    this.#room--
  }

  #giveRoom(): void {
    const wake = this.#waiting.shift()
    if (wake === undefined) this.#room++
    else wake()
  }

  /** Closes the volume that has not been used for longest, if there is one that nobody uses. */
  async #closeIdle(): Promise<void> {
    for (const [volume, open] of this.#open) {
      if (open.users > 0) continue
      this.#open.delete(volume)
      await closeVolume(open)
      return this.#giveRoom()
    }
  }
}

function closed(): VmapipeError {
  return new VmapipeError('FAILED', 'the archive is closed')
}

/** Reads these volumes as one file. */
export function farVolumeBytes(volumes: readonly FarVolume[], options: RangeOptions): ArchiveBytes {
  return new FarVolumeBytes(volumes, (volume, closing) => {
    const signal = options.signal === undefined ? closing : AbortSignal.any([options.signal, closing])
    return openVolume(volume, { ...options, signal })
  })
}

/** Opens the volume, and checks that it is the one that was written. */
async function openVolume({ place, size, mark }: FarVolume, options: RangeOptions): Promise<ArchiveBytes> {
  const bytes = await openFarFile(place, options)
  try {
    if (bytes.size !== size || (mark !== null && (await markOfBytes(bytes, size)) !== mark)) {
      throw foreignVolume(placeText(place))
    }
    return bytes
  } catch (error) {
    await bytes.close()
    throw error
  }
}

/** One that could not be opened is closed. */
async function closeVolume({ bytes }: OpenVolume): Promise<void> {
  const opened = await bytes.catch(() => null)
  await opened?.close()
}
