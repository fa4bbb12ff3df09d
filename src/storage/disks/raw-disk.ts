/**
 * A raw file or block device as a disk. Data goes through the page cache, so a flush is what makes it durable.
 *
 * What is in the page cache is read at once in the calling thread, which costs a twentieth of a switch to libuv's pool.
 * Nothing here ever waits for storage in the calling thread: there the kernel is asked only for what its cache has.
 */

import { read, write } from 'node:fs'
import { constants, type FileHandle, open, statfs } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { totalLength } from '../../core/items.ts'
import { EAGAIN, syscalls } from '../../system/syscalls.ts'
import { writeAll } from '../../system/write-all.ts'
import type { Disk, DiskIdentity, Done, WriteOptions, ZeroOptions } from '../disk.ts'
import { checkBounds, type DriveExtent } from '../drive.ts'
import { openUnused } from '../guard/block-device.ts'
import { lockImage } from '../guard/image-lock.ts'
import { extentsByStep, fileExtents } from '../holes.ts'
import { isLocal, isRemote } from '../local-filesystems.ts'
import { openRaw, sizeOf } from '../raw-file.ts'
import { discardRange, zeroRange } from '../zeroing.ts'
import { FlushGate } from './flush-gate.ts'
import { HoleLook } from './hole-look.ts'
import { type Transfer, TransferError, transferRest } from './transfer.ts'

/** The most bytes that are read in the calling thread (128 KiB): copying more takes longer than the switch to another thread. */
const MAX_CACHED_READ = 128 * 1024

/** Errors of a durable write after which what was written before is still safe. */
const HARMLESS = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EINVAL'])

interface RawImage {
  path: string
  file: FileHandle
  size: number
  isDevice?: boolean
  readOnly?: boolean
  /** Nobody else writes to it meanwhile, so looking for holes may keep the file to itself. */
  atRest?: boolean
  /** Every call may take as long as a network does. */
  isRemote?: boolean
  /** All who write to it do so through this kernel. */
  isLocal?: boolean
  /** The same file opened with O_DSYNC: a write is durable when it is done. Null if it cannot be opened so. */
  durable?: FileHandle | null
  /** What closes the disk, if that is more than closing the file. Called when nothing is in flight. */
  close?: () => Promise<void>
}

export class RawDisk implements Disk {
  readonly size: number
  readonly readOnly: boolean
  readonly #image: RawImage
  readonly #fd: number
  readonly #gate: FlushGate
  readonly #holes: HoleLook
  /** Null if it is no use: there are no such calls, or the filesystem cannot say what the page cache has. */
  #cache = syscalls()
  #busy = 0
  #idle: () => void = () => {}
  #closed: Promise<void> | null = null

  constructor(image: RawImage) {
    this.#image = image
    this.#fd = image.file.fd
    this.#gate = new FlushGate(() => image.file.datasync())
    this.#holes = new HoleLook(image.file.fd, image.isRemote ?? false)
    this.size = image.size
    this.readOnly = image.readOnly ?? false
  }

  read(buffer: Uint8Array, offset: number): Done {
    this.#check(offset, buffer.byteLength)
    const cached = this.#readCached(buffer, offset)
    return cached === buffer.byteLength ? undefined : this.#transfer(read, buffer, cached, offset)
  }

  write(buffers: readonly Uint8Array[], offset: number, { fua = false }: WriteOptions = {}): Done {
    this.#check(offset, totalLength(buffers))
    if (fua) return this.#run(offset, () => this.#writeDurably(buffers, offset))
    if (buffers.length === 1) return this.#transfer(write, buffers[0], 0, offset)
    return this.#run(offset, () => writeAll(this.#image.file, buffers, offset))
  }

  zero(offset: number, length: number, { fua = false, ...options }: ZeroOptions = {}): Done {
    this.#check(offset, length)
    const { file, isDevice = false } = this.#image
    return this.#run(offset, async () => {
      await this.#holes.duringZeroing(() => zeroRange(file, isDevice, offset, length, syscalls(), options))
      if (fua) await this.#gate.flush()
    })
  }

  trim(offset: number, length: number, { fua = false }: WriteOptions = {}): Done {
    this.#check(offset, length)
    return this.#run(offset, async () => {
      await this.#holes.duringZeroing(() => discardRange(this.#image.file, offset, length))
      if (fua) await this.#gate.flush()
    })
  }

  flush(): Done {
    this.#check(0, 0)
    return this.#run(undefined, () => this.#gate.flush())
  }

  async identity(): Promise<DiskIdentity | null> {
    const { file, isDevice = false, isLocal = false } = this.#image
    if (isDevice || !isLocal) return null
    const { dev, ino, size, mtimeNs, ctimeNs } = await file.stat({ bigint: true })
    const [device, inode, bytes, mtime, ctime] = [dev, ino, size, mtimeNs, ctimeNs].map(String)
    return { device, inode, size: bytes, mtime, ctime }
  }

  prefetch(offset: number, length: number): Done {
    this.#check(offset, length)
    const calls = syscalls()
    if (!calls || length === 0) return undefined
    return this.#run(offset, async () => void (await calls.willNeed(this.#fd, offset, length)))
  }

  map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    const { atRest = false, isRemote } = this.#image
    return this.#extents(offset, length, () =>
      fileExtents(this.#fd, offset, length, undefined, { politely: !atRest, remote: isRemote }),
    )
  }

  survey(offset: number, length: number): AsyncGenerator<DriveExtent> {
    const remote = this.#image.isRemote
    return this.#extents(offset, length, () => extentsByStep(this.#fd, offset, length, undefined, { remote }))
  }

  async *#extents(offset: number, length: number, find: () => AsyncIterable<DriveExtent>): AsyncGenerator<DriveExtent> {
    this.#check(offset, length)
    if (length === 0) return
    if (this.#image.isDevice) {
      yield { offset, length, zero: false }
      return
    }
    this.#busy++
    try {
      yield* find()
    } catch (error) {
      throw this.#explain(error)
    } finally {
      this.#left()
    }
  }

  isHole(offset: number, length: number): boolean | Promise<boolean> {
    this.#check(offset, length)
    if (this.#image.isDevice) return false
    try {
      const hole = this.#holes.isHole(offset, length)
      return typeof hole === 'boolean' ? hole : this.#looked(hole)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  async #looked(hole: Promise<boolean>): Promise<boolean> {
    this.#busy++
    try {
      return await hole
    } catch (error) {
      throw this.#explain(error)
    } finally {
      this.#left()
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    if (this.#busy > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
    const { file, durable, close = () => file.close() } = this.#image
    await durable?.close()
    await close()
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new VmapipeError('FAILED', 'the disk is closed', { file: this.#image.path })
    checkBounds(this.size, offset, length)
  }

  /** How many bytes the page cache had. */
  #readCached(buffer: Uint8Array, offset: number): number {
    if (this.#cache === null || buffer.byteLength > MAX_CACHED_READ || buffer.byteLength === 0) return 0
    const count = this.#cache.readCached(this.#fd, buffer, offset)
    if (count >= 0) return count
    if (count !== -EAGAIN) this.#cache = null
    return 0
  }

  /** The rest of the buffer, from byte `done`. */
  #transfer(call: Transfer, buffer: Uint8Array, done: number, offset: number): Promise<void> {
    this.#busy++
    return transferRest(call, this.#fd, buffer, done, offset).then(
      () => this.#left(),
      (error) => {
        this.#left()
        throw this.#explain(error)
      },
    )
  }

  async #writeDurably(buffers: readonly Uint8Array[], offset: number): Promise<void> {
    const { file, durable } = this.#image
    if (!durable) {
      await writeAll(file, buffers, offset)
      await this.#gate.flush()
      return
    }
    this.#gate.throwIfFailed()
    try {
      await writeAll(durable, buffers, offset)
    } catch (error) {
      if (!HARMLESS.has((error as NodeJS.ErrnoException).code ?? '')) this.#gate.fail(error)
      throw error
    }
  }

  async #run(offset: number | undefined, work: () => Promise<void>): Promise<void> {
    this.#busy++
    try {
      await work()
    } catch (error) {
      throw this.#explain(error, offset)
    } finally {
      this.#left()
    }
  }

  #left(): void {
    if (--this.#busy === 0) this.#idle()
  }

  #explain(error: unknown, offset?: number): VmapipeError {
    const file = this.#image.path
    if (error instanceof TransferError) return asVmapipeError(error.cause, { file, offset: error.position })
    const failure = asVmapipeError(error, { file, offset })
    failure.where.file ??= file
    return failure
  }
}

interface RawDiskOptions {
  readOnly?: boolean
}

/** Opens an existing file or block device for a running guest. Throws FAILED if another program uses it. */
export async function openRawDisk(path: string, { readOnly = false }: RawDiskOptions = {}): Promise<Disk> {
  const { file, stats } = readOnly ? await openRaw(path, constants.O_RDONLY) : await openUnused(path)
  try {
    await lockImage(file, path, readOnly ? 'read' : 'write')
    const size = sizeOf(path, file, stats)
    const durable = readOnly ? null : await openDurable(file)
    const { type } = await statfs(path)
    const place = { isDevice: !stats.isFile(), isRemote: isRemote(type), isLocal: isLocal(type) }
    return new RawDisk({ path, file, durable, size, ...place, readOnly })
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Opens the same file once more, even if another one has its name now. */
function openDurable(file: FileHandle): Promise<FileHandle | null> {
  return open(`/proc/self/fd/${file.fd}`, constants.O_RDWR | constants.O_DSYNC).catch(() => null)
}
