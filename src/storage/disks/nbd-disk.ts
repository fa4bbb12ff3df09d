/**
 * An NBD export as a disk, or as a drive to read. What its server cannot do is done with what the server can do, or refused if
 * that would break a promise.
 */

import { VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { NbdClient, type NbdOptions, type Patience } from '../../protocol/nbd/client.ts'
import { STATE_ZERO } from '../../protocol/nbd/constants.ts'
import { formatNbdAddress, type NbdAddress } from '../../protocol/nbd/uri.ts'
import type { Disk, ReadOptions, WriteOptions, ZeroOptions } from '../disk.ts'
import { checkBounds, type DriveExtent, type DriveReader } from '../drive.ts'
import { holdExport } from '../guard/export-in-use.ts'
import { FlushGate } from './flush-gate.ts'

const ZEROES = Buffer.alloc(2 ** 20)

/** Bytes of one extent of a map at most: the server needs time to find out more. */
const MAX_EXTENT = 2 ** 30

interface NbdDiskForm {
  readOnly?: boolean
  /** What closes the disk, if that is more than closing the client. */
  close?: () => Promise<void>
}

export class NbdDisk implements Disk, DriveReader {
  readonly size: number
  readonly readOnly: boolean
  readonly minBlock: number
  readonly upstream: Disk['upstream']
  readonly #client: NbdClient
  readonly #gate: FlushGate
  readonly #close: () => Promise<void>

  constructor(client: NbdClient, { readOnly = false, close = () => client.close() }: NbdDiskForm = {}) {
    this.#client = client
    this.#gate = new FlushGate(() => client.flush())
    this.#close = close
    this.upstream = client.upstream ?? undefined
    this.size = client.size
    this.minBlock = client.minBlock
    this.readOnly = readOnly || client.readOnly
  }

  async read(buffer: Uint8Array, offset: number, options?: ReadOptions): Promise<void> {
    checkBounds(this.size, offset, buffer.byteLength)
    await this.#client.read(buffer, offset, options)
  }

  async write(buffers: readonly Uint8Array[], offset: number, { fua = false }: WriteOptions = {}): Promise<void> {
    checkBounds(this.size, offset, totalLength(buffers))
    await this.#client.write(buffers, offset, { fua: fua && this.#client.canFua })
    if (fua && !this.#client.canFua) await this.#gate.flush()
  }

  async zero(offset: number, length: number, { fua = false, noHole, fast }: ZeroOptions = {}): Promise<void> {
    checkBounds(this.size, offset, length)
    // Our client does not ask servers for fast zeroes, so it cannot promise them.
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

  map(offset: number, length: number, options?: ReadOptions): AsyncGenerator<DriveExtent> {
    return nbdExtents(this.#client, offset, length, options)
  }

  close(): Promise<void> {
    return this.#close()
  }

  async #writeZeroes(offset: number, length: number): Promise<void> {
    const end = offset + length
    for (let position = offset; position < end; position += ZEROES.length) {
      await this.#client.write([ZEROES.subarray(0, end - position)], position)
    }
  }
}

/** What a range of an export consists of; one extent of data if the server cannot tell. */
export async function* nbdExtents(
  client: NbdClient,
  offset: number,
  length: number,
  patience?: Patience,
): AsyncGenerator<DriveExtent> {
  checkBounds(client.size, offset, length)
  if (length === 0) return
  if (!client.hasAllocation) {
    yield { offset, length, zero: false }
    return
  }
  // Joins neighbours that differ only in whether they are allocated, up to a size, so that the first ones come soon.
  let last: DriveExtent | undefined
  for await (const extent of client.extents(offset, length, patience)) {
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

interface NbdDiskOptions extends NbdOptions {
  readOnly?: boolean
  /** If the server goes away, requests wait until it is back; true by default. */
  lasting?: boolean
}

/** Opens an export. If it is for writing, it is known to be in use until the disk is closed. */
export async function openNbdDisk(
  address: NbdAddress,
  { readOnly = false, lasting = true, ...options }: NbdDiskOptions = {},
): Promise<NbdDisk> {
  const release = readOnly ? () => {} : await holdExport(address)
  try {
    const client = await (lasting ? NbdClient.connectLasting : NbdClient.connect)(address, options)
    const close = () => client.close().finally(release)
    if (readOnly || !client.readOnly) return new NbdDisk(client, { readOnly, close })
    await client.close()
    throw new VmapipeError('USAGE', 'this NBD export is read-only', { file: formatNbdAddress(address) })
  } catch (error) {
    release()
    throw error
  }
}
