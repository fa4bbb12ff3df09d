/**
 * System calls that Node does not offer, such as lseek(2) for holes and sizes, fallocate(2) and ioctl(2) for zeroing. Linux only:
 * `syscalls()` is null on other systems and if koffi cannot be loaded, and then callers do without.
 *
 * Results are as the kernel gives them: a negative number is an errno. The asynchronous calls run in libuv's pool.
 */

import { constants } from 'node:os'
import { inPool, type Koffi, type Library, loadKoffi, loadLibc, type NativeFunction, resultOf } from './koffi.ts'
import { native } from './native.ts'

/** lseek(2), "whence". */
export const SEEK_SET = 0
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** fallocate(2), "mode": FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. */
export const PUNCH_HOLE = 0x01 | 0x02
/** FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE: zeroes that stay allocated. */
export const ZERO_RANGE = 0x01 | 0x10

/** linux/fs.h: _IO(0x12, 127). */
const BLKZEROOUT = 0x127f

/** linux/fs.h: read only what needs no waiting. */
const RWF_NOWAIT = 0x08

/** fcntl(2): locks of an open file, not of a process. */
const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

/** fcntl(2), Linux. */
const F_SETPIPE_SZ = 1031

/** malloc.h of glibc. */
const M_ARENA_MAX = -8

const MADV_DONTNEED = 4
/** A multiple of the page size of every machine, in bytes. */
const MEMORY_PAGE = 65_536n

const POSIX_FADV_WILLNEED = 3
const POSIX_FADV_DONTNEED = 4

export interface Syscalls {
  /** Returns the new position, or -errno. No read depends on the position. Takes about a microsecond on most filesystems. */
  lseek(fd: number, offset: number, whence: number): number
  /** The same in libuv's pool, for a slow filesystem. */
  lseekAsync(fd: number, offset: number, whence: number): Promise<number>
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number>
  /** Zeroes a range of a block device in the fastest way that the kernel knows. The range consists of whole logical blocks. */
  blkZeroOut(fd: number, offset: number, length: number): Promise<number>
  /** Reads what is in the page cache, and returns the number of bytes, or -errno. It never waits for a disk. */
  readCached(fd: number, buffer: Uint8Array, offset: number): number
  /** Holds a shared lock on one byte of the file, until all descriptors of this open file are closed; 0 or -errno. */
  lockByte(fd: number, offset: number): number
  /** Whether another open file holds any lock on this byte; or -errno. */
  isByteLocked(fd: number, offset: number): boolean | number
  /** fcntl(2), F_SETPIPE_SZ: sets the capacity of a pipe. Returns its capacity then, in bytes, or -errno. */
  setPipeSize(fd: number, bytes: number): number
  /** madvise(2), MADV_DONTNEED: gives the memory back to the system. It reads as zeroes afterwards. 0 or -errno. */
  forget(memory: Buffer): number
  /** mallopt(3), M_ARENA_MAX: limits the number of heaps that threads share. False if this C library has only one. */
  limitArenas(most: number): boolean
  /** posix_fadvise(2), POSIX_FADV_WILLNEED: lets the page cache begin to read. 0 or an errno. */
  willNeed(fd: number, offset: number, length: number): Promise<number>
  /** posix_fadvise(2), POSIX_FADV_DONTNEED: lets the page cache forget all of the file that is on the disk already. */
  dontNeed(fd: number): Promise<number>
}

export const { ENXIO, EINVAL, EIO, EOPNOTSUPP, ENOTTY, ENOSYS, EAGAIN, EACCES } = constants.errno

export const syscalls = native(load)

/** Set by `load`: nothing here runs before it. */
let koffi: Koffi

function load(): Syscalls {
  const libc = loadLibc()
  koffi = loadKoffi()
  const lseek = wide(libc, 'lseek', (name) => `int64_t ${name}(int, int64_t, int)`)
  const fallocate = wide(libc, 'fallocate', (name) => `int ${name}(int, int, int64_t, int64_t)`)
  const ioctl = libc.func('int ioctl(int, unsigned long, void *)')
  const fadvise = wide(libc, 'posix_fadvise', (name) => `int ${name}(int, int64_t, int64_t, int)`)
  return {
    ...cachedReads(libc),
    ...locksAndPipes(libc),
    forget: forgetBy(libc),
    limitArenas: limitArenasBy(libc),
    lseek: (...args) => resultOf(lseek(...args)),
    lseekAsync: (...args) => inPool(lseek, args),
    fallocate: (...args) => inPool(fallocate, args),
    blkZeroOut(fd, offset, length) {
      const range = Buffer.allocUnsafeSlow(16)
      new BigUint64Array(range.buffer).set([BigInt(offset), BigInt(length)])
      return inPool(ioctl, [fd, BLKZEROOUT, range])
    },
    dontNeed: (fd) => inPool(fadvise, [fd, 0, 0, POSIX_FADV_DONTNEED]),
    willNeed: (fd, offset, length) => inPool(fadvise, [fd, offset, length, POSIX_FADV_WILLNEED]),
  }
}

function cachedReads(libc: Library): Pick<Syscalls, 'readCached'> {
  // Since glibc 2.26 and musl 1.2.5. Without it nothing counts as cached.
  let preadv2: NativeFunction | undefined
  try {
    preadv2 = wide(libc, 'preadv2', (name) => `int64_t ${name}(int, void *, int, int64_t, int)`)
  } catch {}
  // struct iovec of a 64-bit machine: address and number of bytes.
  const iovec = new BigUint64Array(new ArrayBuffer(16))
  return {
    readCached(fd, buffer, offset) {
      if (preadv2 === undefined) return -EOPNOTSUPP
      iovec[0] = koffi.address(buffer)
      iovec[1] = BigInt(buffer.byteLength)
      return resultOf(preadv2(fd, iovec, 1, offset, RWF_NOWAIT))
    },
  }
}

/** Gives back the whole pages within the memory. */
function forgetBy(libc: Library): Syscalls['forget'] {
  const madvise = libc.func('int madvise(uintptr_t, size_t, int)')
  return (memory) => {
    const address = koffi.address(memory)
    const from = roundUp(address, MEMORY_PAGE)
    const to = address + BigInt(memory.byteLength)
    const length = ((to - from) / MEMORY_PAGE) * MEMORY_PAGE
    return length <= 0n ? 0 : resultOf(madvise(from, length, MADV_DONTNEED))
  }
}

/** Only glibc has mallopt. */
function limitArenasBy(libc: Library): Syscalls['limitArenas'] {
  try {
    const mallopt = libc.func('int mallopt(int, int)')
    return (most) => mallopt(M_ARENA_MAX, most) === 1
  } catch {
    return () => false
  }
}

function roundUp(value: bigint, to: bigint): bigint {
  return ((value + to - 1n) / to) * to
}

/** Locks take struct flock of a 64-bit machine: type and whence in 16 bits each, start and length in 64. */
function locksAndPipes(libc: Library): Pick<Syscalls, 'lockByte' | 'isByteLocked' | 'setPipeSize'> {
  const fcntl = libc.func('int fcntl(int, int, ...)')
  const flock = new ArrayBuffer(32)
  const call = (fd: number, command: number, type: number, offset: number) => {
    new BigInt64Array(flock).set([0n, BigInt(offset), 1n, 0n])
    new Int16Array(flock)[0] = type
    return resultOf(fcntl(fd, command, 'void *', new Uint8Array(flock)))
  }
  return {
    setPipeSize: (fd, bytes) => resultOf(fcntl(fd, F_SETPIPE_SZ, 'int', bytes)),
    lockByte: (fd, offset) => call(fd, F_OFD_SETLK, F_RDLCK, offset),
    isByteLocked(fd, offset) {
      const outcome = call(fd, F_OFD_GETLK, F_WRLCK, offset)
      return outcome < 0 ? outcome : new Int16Array(flock)[0] !== F_UNLCK
    },
  }
}

/** The variant with 64-bit offsets: `lseek64` in glibc, which matters on 32-bit machines, or plain `lseek` in musl. */
function wide(libc: Library, name: string, prototype: (name: string) => string): NativeFunction {
  try {
    return libc.func(prototype(`${name}64`))
  } catch {
    return libc.func(prototype(name))
  }
}
