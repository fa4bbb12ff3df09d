import { constants, fstat, read } from 'node:fs'
import { promisify } from 'node:util'
import { VmapipeError } from '../core/errors.ts'
import { closeFd, openFd, readPipe } from '../system/pipe-fd.ts'
import { openRaw } from './raw-file.ts'

/**
 * The bytes of a file, or of a pipe such as `<(command)`, that has at most `most` of them. Throws USAGE for what has more, for
 * a pipe that nobody writes to, and for what is neither.
 */
export async function readConfigFile(path: string, most: number, signal?: AbortSignal): Promise<Buffer> {
  const data = await readSmallFile(path, most, signal)
  if (data.length <= most) return data
  const message = `this config file has more than the ${most} bytes that an archive holds of each`
  throw new VmapipeError('USAGE', message, { file: path })
}

/** The same, and one byte more than `most` of what has more. */
export async function readSmallFile(path: string, most: number, signal?: AbortSignal): Promise<Buffer> {
  return (await readIfPipe(path, most, signal)) ?? readFile(path, most)
}

async function readFile(path: string, most: number): Promise<Buffer> {
  const { file } = await openRaw(path, 0)
  try {
    const buffer = Buffer.alloc(most + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      read = (await file.read(buffer, length)).bytesRead
    }
    return buffer.subarray(0, length)
  } finally {
    await file.close()
  }
}

/** Null if it is no pipe. */
async function readIfPipe(path: string, most: number, signal?: AbortSignal): Promise<Buffer | null> {
  // Opening a pipe must not wait for its writer.
  const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
  if (fd === null) return null
  if (!(await promisify(fstat)(fd)).isFIFO()) {
    await closeFd(fd)
    return null
  }
  const data = await drain(fd, most, signal)
  if (data.length > 0) return data
  throw new VmapipeError('USAGE', 'nothing came out of this pipe', {
    file: path,
    hint: 'does something write into it?',
  })
}

/** What comes out of a pipe until its end, or until there is more than `most`. Closes the descriptor. */
async function drain(fd: number, most: number, signal?: AbortSignal): Promise<Buffer> {
  const parts = [Buffer.alloc(most + 1)]
  // The event loop is never told that a pipe without a writer is at its end; a read is.
  const first = await promisify(read)(fd, parts[0], 0, most + 1, null).catch((error) => {
    if (error.code === 'EAGAIN') return null
    throw error
  })
  parts[0] = parts[0].subarray(0, first?.bytesRead ?? 0)
  let length = parts[0].length
  if (first?.bytesRead === 0) {
    await closeFd(fd)
    return parts[0]
  }
  const stream = readPipe(fd, (bytes) => {
    parts.push(Buffer.from(bytes))
    length += bytes.byteLength
    if (length > most) stream.destroy()
    return true
  })
  const abort = () => stream.destroy(new VmapipeError('ABORTED', 'aborted'))
  signal?.addEventListener('abort', abort, { once: true })
  await new Promise<void>((resolve, reject) => {
    stream.on('error', reject).on('close', resolve).resume()
  }).finally(() => signal?.removeEventListener('abort', abort))
  return Buffer.concat(parts)
}
