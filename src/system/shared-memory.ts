/**
 * Shared memory that another process of the same user may map: memfd_create(2), found by way of proc(5). What one process has read
 * is then not copied through a socket to the other. Linux only: null on other systems and if koffi cannot be loaded.
 */

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, readlinkSync } from 'node:fs'
import { type Koffi, loadKoffi, loadLibc } from './koffi.ts'
import { native } from './native.ts'

/** memfd_create(2): programs that we start do not inherit it, and its size can be sealed. */
const MFD_CLOEXEC = 0x01
const MFD_ALLOW_SEALING = 0x02

/** fcntl(2): seals the size. If the memory shrank, a read past its end would end the other process. */
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

/** madvise(2): frees the pages themselves. With shared memory, MADV_DONTNEED frees only this process's view of them. */
const MADV_REMOVE = 9

const NAME = 'vmapipe'

/** Where another process finds the memory. */
export interface SharedPlace {
  pid: number
  fd: number
  /** Inode of the memory's file. It tells whether `pid` still is the process that was meant. */
  inode: number
  bytes: number
}

export class SharedMemory {
  /** All of the memory. After `close` it is private memory, which is not shared. */
  readonly memory: Buffer
  /** Where others find it; null if another process has created it. */
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

  /** Creates shared memory of zeroes. A page becomes resident when it is first written to. */
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
      // Such as a limit on the size of files (ulimit -f).
    }
    if (shared === null) closeSync(fd)
    return shared
  }

  /** Maps what another process has created, to be read only. Null if it is not at this place, or is not sealed. */
  static open(place: SharedPlace): SharedMemory | null {
    const system = calls()
    // The numbers come from another process.
    const numbers = [place.pid, place.fd, place.inode, place.bytes]
    if (system === null || !numbers.every((number) => Number.isSafeInteger(number) && number > 0)) return null
    const path = `/proc/${place.pid}/fd/${place.fd}`
    let opened: number | null = null
    try {
      // Opening another kind of file may block, or have effects.
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

  /** Gives these whole pages back to the system. They read as zeroes afterwards. */
  forget(part: Buffer): void {
    if (!this.#closed) calls()!.madvise(koffi.address(part), part.length, MADV_REMOVE)
  }

  /** Buffers of the memory stay valid. They get private memory in its place. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    calls()!.mmap(this.#address, this.memory.length, PROT_READ | PROT_WRITE, flags, -1, 0)
    if (this.place !== null) closeSync(this.place.fd)
  }
}

/**
 * Whether the system never overcommits memory (proc(5)). Such a system may refuse a page of shared memory when it is first written
 * to, which ends the process. Other memory it refuses when it is allocated.
 */
function neverOvercommits(): boolean {
  try {
    return readFileSync('/proc/sys/vm/overcommit_memory', 'utf8').trim() === '2'
  } catch {
    return true
  }
}

/** Unmaps memory that has no buffer any more. */
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
  const libc = loadLibc()
  koffi = loadKoffi()
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
