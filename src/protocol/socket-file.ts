/**
 * A unix socket with a name. It has its mode, 0600 unless another is given, from the beginning, and gets its name when it accepts connections. Nothing here follows
 * a symbolic link or changes the file that a path leads to, because the folder may be another user's, and we may be root.
 */

import { randomBytes } from 'node:crypto'
import { lchown, link, lstat, stat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'

/** The longest path in bytes (unix(7): 108 with the final NUL). */
const MAX_PATH_BYTES = 107

export interface SocketFile {
  /** Removes the name, if it is still this socket's. */
  remove(): Promise<void>
}

export interface SocketFileOptions {
  /** Id of the user who may connect, if it is another user. The folder must then be ours, so that nobody can replace the socket. */
  owner?: number | undefined
  /** Id of the group that it gets. */
  group?: number | undefined
  /** Its permissions; 0600 by default. */
  mode?: number | undefined
}

export async function listenOnPath(
  server: Server,
  path: string,
  { owner, group, mode = 0o600 }: SocketFileOptions = {},
): Promise<SocketFile> {
  // Begins with a letter because Node takes a relative path that looks like a number, such as .148e4677, for a port.
  const hidden = join(dirname(path), `.s${randomBytes(4).toString('hex')}`)
  if (Math.max(Buffer.byteLength(path), Buffer.byteLength(hidden)) > MAX_PATH_BYTES) throw tooLong(path)
  try {
    // `listen` would say "permission denied" of a folder that does not exist.
    await stat(dirname(path))
    await listen(server, hidden, mode)
    try {
      const { ino, dev } = await lstat(hidden)
      if (owner !== undefined || group !== undefined) await lchown(hidden, owner ?? -1, group ?? -1)
      await claim(hidden, path)
      return {
        async remove() {
          const now = await lstat(path).catch(() => null)
          if (now?.ino === ino && now.dev === dev) await unlink(path)
        },
      }
    } finally {
      await unlink(hidden)
    }
  } catch (error) {
    server.close()
    throw asVmapipeError(error, { file: path })
  }
}

/** Listens with a socket of this mode. This thread makes the socket before `listen` returns, so the umask decides its mode. */
async function listen(server: Server, path: string, mode: number): Promise<void> {
  const mask = process.umask(0o777 & ~mode)
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, resolve)
  })
  process.umask(mask)
  await listening
}

function tooLong(path: string): VmapipeError {
  return new VmapipeError('USAGE', 'the path is too long for a unix socket', {
    file: path,
    hint: 'choose a shorter one',
  })
}

/** Gives the socket its name. Removes the socket of a server that has ended; refuses if anything else has the name. */
async function claim(socket: string, path: string): Promise<void> {
  const existing = await lstat(path).catch(() => null)
  if (existing) {
    if (!existing.isSocket()) throw new VmapipeError('USAGE', `'${path}' exists and is not a socket`, { file: path })
    if (await isListening(path)) {
      throw new VmapipeError('FAILED', 'another server listens on this socket already', { file: path })
    }
    const now = await lstat(path).catch(() => null)
    if (now !== null && now.ino !== existing.ino)
      throw new VmapipeError('FAILED', 'another server has just taken this socket', { file: path })
    await unlink(path).catch(() => {})
  }
  await link(socket, path)
}

/** Whether a server listens there. A socket that we may not connect to counts as one with a server. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}
