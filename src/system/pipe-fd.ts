/**
 * Descriptors of pipes as sockets of Node, which wait in the event loop: a read or write of a pipe in a thread of the pool
 * could not be called back, and would keep the process from ending.
 */

import { close, constants, open } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import { VmapipeError } from '../core/errors.ts'
import { syscalls } from './syscalls.ts'

export const openFd = promisify(open) as (path: string, flags: number) => Promise<number>
export const closeFd = promisify(close)

/** Gets bytes that are only good until it returns; false asks for no more of them until the stream is resumed. */
export type Feed = (bytes: Uint8Array) => boolean

/** What a pipe holds unless somebody made it larger. */
const PIPE_BYTES = 65536
/** The most that Linux allows to anybody (/proc/sys/fs/pipe-max-size), unless it was told otherwise. */
const LARGE_PIPE_BYTES = 1 << 20

/**
 * Reading into one small buffer that stays in the processor's cache, and copying out of it, was measured to be the fastest
 * way: 1.2 to 1.7 GB/s, against 0.9 for reads right to where the bytes belong and 0.8 for a new buffer each time.
 */
export function readPipe(fd: number, feed: Feed): Readable {
  const callback = (bytes: number, buffer: Uint8Array) => feed(buffer.subarray(0, bytes))
  return new Socket({
    fd,
    readable: true,
    writable: false,
    onread: { buffer: Buffer.allocUnsafeSlow(PIPE_BYTES), callback },
  } as never)
}

/** Any other stream of bytes, read the same way. It is left paused. */
export function readStream<T extends Readable>(stream: T, feed: Feed): T {
  stream.on('data', (chunk) => {
    if (!(chunk instanceof Uint8Array)) stream.destroy(notBytes(chunk))
    else if (!feed(chunk)) stream.pause()
  })
  stream.pause()
  return stream
}

function notBytes(chunk: unknown): VmapipeError {
  const hint = typeof chunk === 'string' ? 'set no encoding on it' : 'give a stream of buffers'
  return new VmapipeError('USAGE', `the stream gives ${typeof chunk}s instead of bytes`, { hint })
}

export function writePipe(fd: number): Writable {
  return new Socket({ fd, readable: false, writable: true })
}

/**
 * Opens the pipe behind a descriptor once more. Nothing may block, and O_NONBLOCK on the descriptor we were given would
 * hold for every process that shares it, the shell's next command too.
 */
export async function reopenPipe(fd: number, access: 'read' | 'write'): Promise<number> {
  const flags = access === 'read' ? constants.O_RDONLY : constants.O_WRONLY
  const opened = await openFd(`/proc/self/fd/${fd}`, flags | constants.O_NONBLOCK).catch(() => fd)
  // Whoever is at the other end is woken less often. Where it may not be so large, it is as it was.
  syscalls()?.setPipeSize(opened, LARGE_PIPE_BYTES)
  return opened
}
