/**
 * A unix socket under a name. It is made in a folder that nobody else can enter and linked to its name only when it has
 * mode 0600: at no moment may anybody else connect.
 */

import { chmod, link, lstat, mkdtemp, rm, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'

/** unix(7): what fits into an address, less its final NUL. */
const MAX_PATH_BYTES = 107

export interface SocketFile {
  /** Removes the name, if it is still this socket's. */
  remove(): Promise<void>
}

export async function listenOnPath(server: Server, path: string): Promise<SocketFile> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw tooLong(path)
  const folder = await mkdtemp(join(dirname(path), '.nbd-')).catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
  try {
    const hidden = join(folder, 's')
    if (Buffer.byteLength(hidden) > MAX_PATH_BYTES) throw tooLong(path)
    await listen(server, hidden)
    await chmod(hidden, 0o600)
    const { ino, dev } = await lstat(hidden)
    await claim(hidden, path)
    return {
      async remove() {
        const now = await lstat(path).catch(() => null)
        if (now?.ino === ino && now.dev === dev) await unlink(path)
      },
    }
  } catch (error) {
    server.close()
    throw asVmapipeError(error, { file: path })
  } finally {
    await rm(folder, { recursive: true })
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, resolve)
  })
}

function tooLong(path: string): VmapipeError {
  return new VmapipeError('USAGE', 'the path is too long for a unix socket', {
    file: path,
    hint: 'choose a shorter one',
  })
}

/** Gives the socket its name. What a dead server left under it goes; anything else stays. */
async function claim(socket: string, path: string): Promise<void> {
  const existing = await lstat(path).catch(() => null)
  if (existing) {
    if (!existing.isSocket()) throw new VmapipeError('USAGE', 'it exists and is not a socket', { file: path })
    if (await answers(path)) {
      throw new VmapipeError('FAILED', 'somebody serves on this socket already', { file: path })
    }
    await unlink(path).catch(() => {})
  }
  await link(socket, path)
}

/** Whether anybody listens; a socket that we may not connect to counts as one that somebody does. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}
