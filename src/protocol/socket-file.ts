/**
 * A unix socket under a name. It has mode 0600 from the moment it is made, and is linked to its name when it takes connections.
 * Nothing here follows a link or changes what a path leads to: the folder may be somebody else's, and we may be root.
 */

import { randomBytes } from 'node:crypto'
import { lchown, link, lstat, stat, unlink } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'

/** unix(7): what fits into an address, less its final NUL. */
const MAX_PATH_BYTES = 107

export interface SocketFile {
  /** Removes the name, if it is still this socket's. */
  remove(): Promise<void>
}

export interface SocketFileOptions {
  /** User id of the one who may connect, if that is another one. The folder must be ours then, so that nobody swaps the socket. */
  owner?: number | undefined
}

export async function listenOnPath(
  server: Server,
  path: string,
  { owner }: SocketFileOptions = {},
): Promise<SocketFile> {
  // The letter: Node takes a relative path that reads as a number, such as .148e4677, for a port.
  const hidden = join(dirname(path), `.s${randomBytes(4).toString('hex')}`)
  if (Math.max(Buffer.byteLength(path), Buffer.byteLength(hidden)) > MAX_PATH_BYTES) throw tooLong(path)
  try {
    // Of a folder that is not there `listen` says "permission denied".
    await stat(dirname(path))
    await listen(server, hidden)
    try {
      const { ino, dev } = await lstat(hidden)
      if (owner !== undefined) await lchown(hidden, owner, -1)
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

/** The socket is made before `listen` returns, by this thread: its mode is the mask's. */
async function listen(server: Server, path: string): Promise<void> {
  const mask = process.umask(0o177)
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

/** Gives the socket its name. What a dead server left under it goes; anything else stays. */
async function claim(socket: string, path: string): Promise<void> {
  const existing = await lstat(path).catch(() => null)
  if (existing) {
    if (!existing.isSocket()) throw new VmapipeError('USAGE', `'${path}' exists and is not a socket`, { file: path })
    if (await answers(path)) {
      throw new VmapipeError('FAILED', 'somebody serves on this socket already', { file: path })
    }
    const now = await lstat(path).catch(() => null)
    if (now !== null && now.ino !== existing.ino)
      throw new VmapipeError('FAILED', 'another server has just taken this socket', { file: path })
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
