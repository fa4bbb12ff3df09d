/**
 * Memory that another process of the same user may look into: memfd_create(2), found by way of proc(5), so that what one
 * process has read need not be copied through a socket to get to the other. Linux only; null on other systems and if koffi cannot be loaded.
 */

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, readlinkSync } from 'node:fs'
import { type Koffi, loadKoffi } from './koffi.ts'
import { native } from './native.ts'

/** memfd_create(2): not for programs that are started; its size may be fixed. */
const MFD_CLOEXEC = 0x01
const MFD_ALLOW_SEALING = 0x02

/** fcntl(2): the size stays as it is for good, or looking past its end would end a process. */
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034
const SIZE_SEALS = 0x01 | 0x02 | 0x04

/** mmap(2) */
const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const MAP_PRIVATE = 2
const MAP_FIXED = 0x10
const MAP_ANONYMOUS = 0x20

/** madvise(2): unlike with memory of one's own, DONTNEED would only forget where it is. */
const MADV_REMOVE = 9

const NAME = 'vmapipe'

/** Where another process finds it. */
export interface SharedPlace {
  pid: number
  fd: number
  /** Of the file behind it: the process may be another one where it is looked for. */
  inode: number
  bytes: number
}

export class SharedMemory {
  /** All of it. After `close` it is other memory, which nobody sees. */
  readonly memory: Buffer
  /** Where the process that has created it has it; null in any other. */
  readonly place: SharedPlace | null
  readonly #address: bigint
  #closed = false

  private constructor(address: bigint, bytes: number, place: SharedPlace | null) {
    const memory = koffi.view(address, bytes)
    addresses.register(memory, { address, bytes })
    this.memory = Buffer.from(memory)
    this.#address = address
    this.place = place
  }

  /** So many bytes, all zero, of which none is resident before it is written to. */
  static create(bytes: number): SharedMemory | null {
    const system = calls()
    if (system === null || neverOvercommits()) return null
    const fd = system.memfd_create(NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING)
    if (fd < 0) return null
    let shared: SharedMemory | null = null
    try {
      ftruncateSync(fd, bytes)
      const place = { pid: process.pid, fd, inode: fstatSync(fd).ino, bytes }
      const sealed = system.fcntl(fd, F_ADD_SEALS, 'int', SIZE_SEALS) === 0
      shared = sealed ? SharedMemory.#map(system, place, PROT_READ | PROT_WRITE, place) : null
    } catch {
      // A limit on the size of files, for one.
    }
    if (shared === null) closeSync(fd)
    return shared
  }

  /** What another process has created, to be read only; null where that is not to be found there, or not as it should be. */
  static open(place: SharedPlace): SharedMemory | null {
    const system = calls()
    // Somebody else has said them.
    const numbers = [place.pid, place.fd, place.inode, place.bytes]
    if (system === null || !numbers.every((number) => Number.isSafeInteger(number) && number > 0)) return null
    const path = `/proc/${place.pid}/fd/${place.fd}`
    let opened: number | null = null
    try {
      // Anything else would better not even be opened.
      if (!readlinkSync(path).startsWith(`/memfd:${NAME}`)) return null
      opened = openSync(path, constants.O_RDONLY)
      const { ino, size } = fstatSync(opened)
      const sealed = (system.fcntl(opened, F_GET_SEALS, 'int', 0) & SIZE_SEALS) === SIZE_SEALS
      if (ino !== place.inode || size !== place.bytes || !sealed) return null
      return SharedMemory.#map(system, { ...place, fd: opened }, PROT_READ, null)
    } catch {
      return null
    } finally {
      if (opened !== null) closeSync(opened)
    }
  }

  static #map(
    system: Calls,
    { fd, bytes }: SharedPlace,
    access: number,
    place: SharedPlace | null,
  ): SharedMemory | null {
    const address = system.mmap(0n, bytes, access, MAP_SHARED, fd, 0)
    return address < 0n ? null : new SharedMemory(address, bytes, place)
  }

  /** The system may have these whole pages back; they are zero when they are looked at again. */
  forget(part: Buffer): void {
    if (!this.#closed) calls()!.madvise(koffi.address(part), part.length, MADV_REMOVE)
  }

  /** Buffers stay buffers as long as somebody has one: only what is behind them goes. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    calls()!.mmap(this.#address, this.memory.length, PROT_READ | PROT_WRITE, flags, -1, 0)
    if (this.place !== null) closeSync(this.place.fd)
  }
}

/** proc(5): such a system refuses memory only when it is written to, which ends the process; memory of its own it refuses before. */
function neverOvercommits(): boolean {
  try {
    return readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').trim() === '2'
  } catch {
    return true
  }
}

/** Of memory that nobody has a buffer of any more. */
const addresses = new FinalizationRegistry<{ address: bigint; bytes: number }>(({ address, bytes }) => {
  calls()!.munmap(address, bytes)
})

interface Calls {
  memfd_create(name: string, flags: number): number
  fcntl(fd: number, command: number, ...argument: unknown[]): number
  /** MAP_FAILED is -1. */
  mmap(address: bigint, bytes: number, access: number, flags: number, fd: number, offset: number): bigint
  munmap(address: bigint, bytes: number): number
  madvise(address: bigint, bytes: number, advice: number): number
}

const calls = native(load)

/** Set by `load`: nothing here runs before it. */
let koffi: Koffi

function load(): Calls {
  if (process.platform !== 'linux') throw new Error('Linux only')
  koffi = loadKoffi()
  const libc = koffi.load(null)
  const mmap = libc.func('intptr_t mmap(uintptr_t, size_t, int, int, int, intptr_t)')
  return {
    memfd_create: libc.func('int memfd_create(const char *, unsigned int)'),
    fcntl: libc.func('int fcntl(int, int, ...)'),
    // Small numbers come as numbers.
    mmap: (...args) => BigInt(mmap(...args)),
    munmap: libc.func('int munmap(uintptr_t, size_t)'),
    madvise: libc.func('int madvise(uintptr_t, size_t, int)'),
  }
}
