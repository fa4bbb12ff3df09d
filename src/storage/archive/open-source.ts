/** Finds out what a path or standard input is, and opens the source for it. */

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
import { findVolumes } from './volumes/volume-set.ts'
import { VolumeSource } from './volumes/volume-source.ts'

/** O_NONBLOCK: opening a FIFO must not wait for its writer, because a thread that waits there cannot be interrupted. */
export async function openPath(path: string, options: SourceOptions): Promise<ArchiveSource> {
  const volumes = await findVolumes(path)
  if (volumes !== null) return new VolumeSource(volumes, options)
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

/** A tape or a similar device: read from its position, one read at a time. Each read may wait. */
async function openCharacterDevice(path: string, options: SourceOptions): Promise<ArchiveSource> {
  const fd = await openFd(path, constants.O_RDONLY)
  return new FileSource({ fd, owned: true, name: path, start: null, size: undefined }, options)
}

/** Standard input: a pipe, a socket, or a file from its position on. A terminal is refused. */
export async function openStdin(options: SourceOptions): Promise<ArchiveSource> {
  const name = 'standard input'
  refuseIfClosed(0)
  if (isatty(0)) {
    throw new VmapipeError('USAGE', 'standard input is a terminal: nobody can type an archive', {
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

/** The position of a file that another program has opened; null if the kernel does not say. */
async function positionOf(fd: number): Promise<number | null> {
  const info = await readFile(`/proc/self/fdinfo/${fd}`, 'latin1').catch(() => '')
  const pos = /^pos:\s*([0-9]+)$/m.exec(info)
  return pos === null ? null : Number(pos[1])
}
