import { constants, fstat, read } from 'node:fs'
import { promisify } from 'node:util'
import { VmapipeError } from '../core/errors.ts'
import { closeFd, openFd, readPipe } from '../system/pipe-fd.ts'
import { openRaw } from './raw-file.ts'

/**
 * Reads a file, or a pipe such as `<(command)`, of at most `most` bytes. Throws USAGE if it has more, if nobody writes to the pipe, or
 * if it is neither file nor pipe.
 */
export async function readConfigFile(path: string, most: number, signal?: AbortSignal): Promise<Buffer> {
  const data = await readSmallFile(path, most, signal)
  if (data.length <= most) return data
  const message = `this config file has more than the ${most} bytes that an archive holds of each`
  throw new VmapipeError('USAGE', message, { file: path })
}

/** The same, but returns one byte more than `most` if there are more. */
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

/** Reads a pipe; null if it is none. */
async function readIfPipe(path: string, most: number, signal?: AbortSignal): Promise<Buffer | null> {
  // The open must not wait for a writer of the pipe.
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

/** Reads a pipe until its end, or until there are more than `most` bytes. Closes the descriptor. */
async function drain(fd: number, most: number, signal?: AbortSignal): Promise<Buffer> {
  const parts = [Buffer.alloc(most + 1)]
  // The event loop does not notice the end of a pipe that never had a writer. A read does.
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
