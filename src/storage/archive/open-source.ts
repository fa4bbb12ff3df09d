/** Looks at what a path or standard input is, and picks the way to read it. */

import { constants, fstat } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { closeFd, openFd, readPipe, reopenPipe } from '../../system/pipe-fd.ts'
import { refuseIfClosed } from '../../system/standard-streams.ts'
import type { ArchiveSource, SourceOptions } from './endpoint.ts'
import { FileSource } from './file-source.ts'
import { PipeSource } from './pipe-source.ts'

/** O_NONBLOCK: to open a FIFO must not wait for its writer, a thread that waits there could not be called back. */
export async function openPath(path: string, options: SourceOptions): Promise<ArchiveSource> {
  const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const found = await promisify(fstat)(fd)
    if (found.isFIFO()) return new PipeSource(async (feed) => readPipe(fd, feed), `'${path}'`, options)
    if (found.isDirectory())
      throw new VmapipeError('USAGE', `'${path}' is a folder`, { hint: 'name the archive in it' })
    if (!found.isCharacterDevice()) {
      const size = found.isFile() ? found.size : undefined
      return new FileSource({ fd, owned: true, name: path, start: 0, size }, options)
    }
  } catch (error) {
    await closeFd(fd).catch(() => {})
    throw asVmapipeError(error, { file: path })
  }
  await closeFd(fd)
  return openCharacterDevice(path, options)
}

/** A tape and the like: read where it stands, one read after the other, and each of them may wait. */
async function openCharacterDevice(path: string, options: SourceOptions): Promise<ArchiveSource> {
  const fd = await openFd(path, constants.O_RDONLY)
  return new FileSource({ fd, owned: true, name: path, start: null, size: undefined }, options)
}

/** Standard input as it is found: a pipe, a socket, a file from where it stands. A terminal is refused. */
export async function openStdin(options: SourceOptions): Promise<ArchiveSource> {
  const name = 'standard input'
  refuseIfClosed(0)
  if (isatty(0)) {
    throw new VmapipeError('USAGE', 'nobody can type an archive', {
      hint: 'redirect standard input from a file or a pipe',
    })
  }
  const found = await promisify(fstat)(0)
  if (found.isFIFO()) {
    const fd = await reopenPipe(0, 'read')
    return new PipeSource(async (feed) => readPipe(fd, feed), name, options)
  }
  if (found.isSocket()) return new PipeSource(async (feed) => readPipe(0, feed), name, options)
  const start = found.isCharacterDevice() ? null : await positionOf(0)
  const size = found.isFile() && start !== null ? Math.max(0, found.size - start) : undefined
  return new FileSource({ fd: 0, owned: false, name, start, size }, options)
}

/** Where a file that somebody else opened stands; null where the kernel does not say. */
async function positionOf(fd: number): Promise<number | null> {
  const info = await readFile(`/proc/self/fdinfo/${fd}`, 'latin1').catch(() => '')
  const pos = /^pos:\s*([0-9]+)$/m.exec(info)
  return pos === null ? null : Number(pos[1])
}
