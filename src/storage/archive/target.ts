/** Opens an archive to write, as the user names it: each kind of place has a target of its own. */

import { WriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { VmapipeError } from '../../core/errors.ts'
import { isWritableLike, nodeWritable, type WritableLike } from '../../core/stream-kinds.ts'
import { DeviceTarget } from './device-target.ts'
import type { ArchiveTarget, TargetOptions } from './endpoint.ts'
import { ExecTarget } from './exec.ts'
import { FileTarget } from './file-target.ts'
import { openFifo, openStdout, PipeTarget } from './pipe-target.ts'
import { parsePlace } from './spec.ts'
import { SshTarget } from './ssh-target.ts'

/** The target that `to` means (see spec.ts), or a stream of the caller's. Throws USAGE if `to` means nothing. */
export function archiveTarget(to: string | WritableLike, options: TargetOptions = {}): ArchiveTarget {
  if (isWritableLike(to)) {
    const stream = nodeWritable(to)
    return new PipeTarget(async () => stream, 'the stream', options, { copies: mayKeep(stream) })
  }
  const place = parsePlace(to)
  switch (place.kind) {
    case 'stdio':
      return new Chosen(() => openStdout(options))
    case 'exec':
      return new ExecTarget(place.command, options)
    case 'ssh':
      return new SshTarget(place, options)
    case 's3':
      return new Chosen(async () => new (await import('./s3/s3-target.ts')).S3Target(place, options))
    default:
      return new Chosen(() => pathTarget(place.path, options))
  }
}

/** Whether a stream may keep bytes after it has called back, as a PassThrough does. Sockets and files do not: they end in a system call. */
function mayKeep(to: Writable): boolean {
  // An HTTP server's response goes to a socket; to load node:http for its class would take a tenth of a second.
  return !(to instanceof Socket || to instanceof WriteStream || 'headersSent' in to)
}

/** A file is written under a temporary name first. Anything else that has a path is written in place, but never by a small file of ours. */
async function pathTarget(path: string, options: TargetOptions): Promise<ArchiveTarget> {
  if (options.lastWins) return new FileTarget(path, options)
  const found = await stat(path).catch((error) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (found === null || found.isFile()) return new FileTarget(path, options)
  if (found.isFIFO()) return new PipeTarget(() => openFifo(path, options.signal), `'${path}'`, options)
  if (found.isCharacterDevice() || found.isBlockDevice()) return new DeviceTarget(path, options)
  throw new VmapipeError('USAGE', `'${path}' is a ${found.isDirectory() ? 'folder' : 'socket'}`, {
    hint: found.isDirectory() ? 'name a file in it' : 'name a file, a device or a pipe',
  })
}

/** A target that is chosen when it is opened, by what is found there. */
class Chosen implements ArchiveTarget {
  readonly #choose: () => Promise<ArchiveTarget>
  #target: ArchiveTarget | null = null

  constructor(choose: () => Promise<ArchiveTarget>) {
    this.#choose = choose
  }

  get depth(): number {
    return this.#target?.depth ?? 1
  }

  async open(): Promise<void> {
    this.#target = await this.#choose()
    await this.#target.open()
  }

  write(buffers: readonly Uint8Array[]): Promise<void> {
    return this.#target!.write(buffers)
  }

  async settle(): Promise<void> {
    await this.#target!.settle?.()
  }

  finish(): Promise<void> {
    return this.#target!.finish()
  }

  async abort(): Promise<void> {
    await this.#target?.abort()
  }
}
