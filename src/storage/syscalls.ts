/**
 * System calls that Node does not offer, by way of koffi: lseek(2) for holes and sizes, fallocate(2) and ioctl(2) for
 * zeroing. Linux only; everywhere else, and where koffi does not load, `syscalls()` is null and callers go without.
 *
 * Results are as the kernel gives them: a negative number is an errno. The asynchronous calls run in libuv's pool;
 * their errno stays in the pool's thread, so a call that failed is made once more here to learn it: they fail fast.
 */

import { constants } from 'node:os'
import koffi from 'koffi'

/** lseek(2), "whence". */
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** fallocate(2), "mode": FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE. */
export const PUNCH_HOLE = 0x01 | 0x02

/** linux/fs.h: _IO(0x12, 127). */
const BLKZEROOUT = 0x127f

export interface Syscalls {
  /** A new position, which nothing depends on (reads say theirs), or -errno. About a microsecond on most filesystems. */
  lseek(fd: number, offset: number, whence: number): number
  /** The same in libuv's pool, for a filesystem that takes its time. */
  lseekAsync(fd: number, offset: number, whence: number): Promise<number>
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number>
  /** Zeroes a range of a block device, aligned to its logical blocks, the fastest way that the kernel knows. */
  blkZeroOut(fd: number, offset: number, length: number): Promise<number>
}

export const { ENXIO, EINVAL, EOPNOTSUPP, ENOTTY, ENOSYS } = constants.errno

let loaded: Syscalls | null | undefined

export function syscalls(): Syscalls | null {
  if (loaded === undefined) {
    try {
      loaded = process.platform === 'linux' ? load() : null
    } catch {
      loaded = null
    }
  }
  return loaded
}

function load(): Syscalls {
  const libc = koffi.load(null)
  const lseek = wide(libc, 'lseek', (name) => `int64_t ${name}(int, int64_t, int)`)
  const fallocate = wide(libc, 'fallocate', (name) => `int ${name}(int, int, int64_t, int64_t)`)
  const ioctl = libc.func('int ioctl(int, unsigned long, void *)')
  return {
    lseek: (...args) => result(lseek(...args)),
    lseekAsync: (...args) => inPool(lseek, args),
    fallocate: (...args) => inPool(fallocate, args),
    blkZeroOut(fd, offset, length) {
      const range = Buffer.allocUnsafeSlow(16)
      new BigUint64Array(range.buffer).set([BigInt(offset), BigInt(length)])
      return inPool(ioctl, [fd, BLKZEROOUT, range])
    },
  }
}

type Library = ReturnType<typeof koffi.load>
type NativeFunction = ReturnType<Library['func']>

/** The variant with 64-bit offsets: `lseek64` in glibc, where that matters on 32-bit machines; plain `lseek` in musl. */
function wide(libc: Library, name: string, prototype: (name: string) => string): NativeFunction {
  try {
    return libc.func(prototype(`${name}64`))
  } catch {
    return libc.func(prototype(name))
  }
}

function result(value: number | bigint): number {
  return value < 0 ? -koffi.errno() : Number(value)
}

function inPool(call: NativeFunction, args: unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error: Error | null, value: number | bigint) => {
      if (error) reject(error)
      else resolve(value < 0 ? result(call(...args)) : Number(value))
    })
  })
}
