/** An NBD export as a drive to read or to write. */

import { VmapipeError } from '../core/errors.ts'
import { NbdClient, type NbdOptions, type Patience } from '../protocol/nbd/client.ts'
import { STATE_ZERO } from '../protocol/nbd/constants.ts'
import { formatNbdAddress, type NbdAddress } from '../protocol/nbd/uri.ts'
import { checkBounds } from './bounds.ts'
import type { DriveExtent, DriveReader, DriveWriter } from './drive.ts'
import { holdExport, refuseExportInUse } from './guard/export-hold.ts'
import type { SharedReading } from './raw-reader.ts'
import { checkTargetSize } from './raw-writer.ts'

const ZEROES = Buffer.alloc(2 ** 20)

/** Enough for one extent of a map; to find out more takes the server a while. */
const MAX_EXTENT = 2 ** 30

export class NbdReader implements DriveReader {
  readonly size: number
  readonly #client: NbdClient

  constructor(client: NbdClient) {
    this.#client = client
    this.size = client.size
  }

  async *map(offset: number, length: number, patience?: Patience): AsyncGenerator<DriveExtent> {
    checkBounds(this.size, offset, length)
    if (length === 0) return
    if (!this.#client.hasAllocation) {
      yield { offset, length, zero: false }
      return
    }
    // Neighbours that differ only in what we do not care for (allocated or not) are one, but nobody waits for the end.
    let last: DriveExtent | undefined
    for await (const extent of this.#client.extents(offset, length, patience)) {
      const zero = (extent.flags & STATE_ZERO) !== 0
      if (last !== undefined && last.zero === zero && last.length < MAX_EXTENT) {
        last.length += extent.length
        continue
      }
      if (last) yield last
      last = { offset: extent.offset, length: extent.length, zero }
    }
    if (last) yield last
  }

  async read(buffer: Uint8Array, offset: number, patience?: Patience): Promise<void> {
    checkBounds(this.size, offset, buffer.byteLength)
    await this.#client.read(buffer, offset, patience)
  }

  close(): Promise<void> {
    return this.#client.close()
  }
}

export class NbdWriter implements DriveWriter {
  readonly size: number
  readonly isZero: boolean
  readonly #client: NbdClient

  /** `size` is the drive's; the export may be larger. */
  constructor(client: NbdClient, size: number, isZero: boolean) {
    this.#client = client
    this.size = size
    this.isZero = isZero
  }

  async write(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    checkBounds(this.size, offset, length)
    await this.#client.write(buffers, offset)
  }

  async zero(offset: number, length: number): Promise<void> {
    checkBounds(this.size, offset, length)
    if (this.#client.canWriteZeroes) {
      await this.#client.writeZeroes(offset, length)
      return
    }
    const end = offset + length
    for (let position = offset; position < end; position += ZEROES.length) {
      await this.#client.write([ZEROES.subarray(0, end - position)], position)
    }
  }

  flush(): Promise<void> {
    return this.#client.flush()
  }

  /** The export was there before. */
  async publish(_suffix?: string): Promise<string | null> {
    return null
  }

  close(): Promise<void> {
    return this.#client.close()
  }
}

/** The export is known to be in use until the writer is closed. */
class HeldWriter extends NbdWriter {
  readonly #release: () => void

  constructor(client: NbdClient, size: number, isZero: boolean, release: () => void) {
    super(client, size, isZero)
    this.#release = release
  }

  override async close(): Promise<void> {
    await super.close()
    this.#release()
  }
}

export async function openNbdReader(
  address: NbdAddress,
  { forceShare = false, ...options }: NbdOptions & SharedReading = {},
): Promise<NbdReader> {
  if (!forceShare) await refuseExportInUse(address)
  return new NbdReader(await NbdClient.connect(address, options))
}

/** An export that takes writes and has at least `size` bytes; what lies past `size` is left alone. */
export async function openNbdWriter(
  address: NbdAddress,
  size: number,
  isZero: boolean,
  options?: NbdOptions,
): Promise<NbdWriter> {
  const release = await holdExport(address)
  let client: NbdClient | undefined
  try {
    client = await NbdClient.connect(address, options)
    const file = formatNbdAddress(address)
    if (client.readOnly) throw new VmapipeError('USAGE', 'this NBD export is read-only', { file })
    checkTargetSize(file, client.size, size)
    return new HeldWriter(client, size, isZero, release)
  } catch (error) {
    await client?.close()
    release()
    throw error
  }
}
