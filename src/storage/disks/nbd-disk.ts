/**
 * An NBD export as a disk. What its server cannot do is done with what it can, or refused where that would be a lie. A server that
 * goes away is waited for.
 */

import { VmapipeError } from '../../core/errors.ts'
import { NbdClient, type NbdOptions } from '../../protocol/nbd/client.ts'
import { formatNbdAddress, type NbdAddress } from '../../protocol/nbd/uri.ts'
import { checkBounds } from '../bounds.ts'
import type { Disk, ReadOptions, WriteOptions, ZeroOptions } from '../disk.ts'
import type { DriveExtent } from '../drive.ts'
import { holdExport } from '../guard/export-hold.ts'
import { NbdReader } from '../nbd-drive.ts'
import { FlushGate } from './flush-gate.ts'

const ZEROES = Buffer.alloc(2 ** 20)

export class NbdDisk implements Disk {
  readonly size: number
  readonly readOnly: boolean
  readonly minBlock: number
  readonly upstream: Disk['upstream']
  readonly #client: NbdClient
  readonly #reader: NbdReader
  readonly #gate: FlushGate

  constructor(client: NbdClient, readOnly = false) {
    this.#client = client
    this.#reader = new NbdReader(client)
    this.#gate = new FlushGate(() => client.flush())
    this.upstream = client.upstream ?? undefined
    this.size = client.size
    this.minBlock = client.minBlock
    this.readOnly = readOnly || client.readOnly
  }

  read(buffer: Uint8Array, offset: number, options?: ReadOptions): Promise<void> {
    return this.#reader.read(buffer, offset, options)
  }

  async write(buffers: readonly Uint8Array[], offset: number, { fua = false }: WriteOptions = {}): Promise<void> {
    const length = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0)
    checkBounds(this.size, offset, length)
    await this.#client.write(buffers, offset, { fua: fua && this.#client.canFua })
    if (fua && !this.#client.canFua) await this.#gate.flush()
  }

  async zero(offset: number, length: number, { fua = false, noHole, fast }: ZeroOptions = {}): Promise<void> {
    checkBounds(this.size, offset, length)
    // Our client does not ask servers for speed; so it cannot be promised either.
    if (fast) throw Object.assign(new Error('zeroes may have to be written'), { code: 'ENOTSUP' })
    const { canFua, canWriteZeroes } = this.#client
    if (canWriteZeroes) await this.#client.writeZeroes(offset, length, { fua: fua && canFua, noHole })
    else await this.#writeZeroes(offset, length)
    if (fua && !(canFua && canWriteZeroes)) await this.#gate.flush()
  }

  async trim(offset: number, length: number, { fua = false }: WriteOptions = {}): Promise<void> {
    checkBounds(this.size, offset, length)
    if (this.#client.canTrim) await this.#client.trim(offset, length)
    if (fua) await this.#gate.flush()
  }

  flush(): Promise<void> {
    return this.#gate.flush()
  }

  map(offset: number, length: number, options?: ReadOptions): AsyncIterable<DriveExtent> {
    return this.#reader.map(offset, length, options)
  }

  close(): Promise<void> {
    return this.#client.close()
  }

  async #writeZeroes(offset: number, length: number): Promise<void> {
    const end = offset + length
    for (let position = offset; position < end; position += ZEROES.length) {
      await this.#client.write([ZEROES.subarray(0, end - position)], position)
    }
  }
}

/** The export is known to be in use until the disk is closed. */
class HeldDisk extends NbdDisk {
  readonly #release: () => void

  constructor(client: NbdClient, readOnly: boolean, release: () => void) {
    super(client, readOnly)
    this.#release = release
  }

  override async close(): Promise<void> {
    await super.close()
    this.#release()
  }
}

export interface NbdDiskOptions extends NbdOptions {
  readOnly?: boolean
}

export async function openNbdDisk(address: NbdAddress, { readOnly = false, ...options }: NbdDiskOptions = {}) {
  const release = readOnly ? () => {} : await holdExport(address)
  try {
    const client = await NbdClient.connectLasting(address, options)
    if (readOnly || !client.readOnly) return new HeldDisk(client, readOnly, release)
    await client.close()
    throw new VmapipeError('USAGE', 'this NBD export is read-only', { file: formatNbdAddress(address) })
  } catch (error) {
    release()
    throw error
  }
}
