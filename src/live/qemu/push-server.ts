/** Our end of the push: an NBD server in a folder of its own, with an export for every drive. */

import { constants } from 'node:fs'
import { chmod, lchown, lstat, mkdir, mkdtemp, open, rmdir, unlink } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import { NbdServer } from '../../protocol/nbd/server/server.ts'
import { listenOnPath } from '../../protocol/socket-file.ts'
import { refuseShared } from '../../storage/folder.ts'
import { namesOf } from './attachment/names.ts'
import type { PushTarget } from './push-target.ts'

/** The beginning of the folder's name. */
const FOLDER = 'vmapipe-'
/** The one folder in it that QEMU may write to. */
const QEMUS = 'qemu'
const PULL = 'pull'
/** The sockets that may be in these folders. */
const SOCKETS = ['push', 'ram', join(QEMUS, PULL), 'life']

/** The most requests, and bytes of them, that QEMU may have in flight for one drive. The rest waits in its socket. */
const MAX_REQUESTS = 64
const MAX_BYTES = 4 << 20

interface PushServerOptions {
  /** The folder in which its own folder is made; the system's folder for temporary files unless given. */
  parent?: string
  /** User id of QEMU, if it is not ours. */
  owner?: number
}

export class PushServer {
  /** The socket that QEMU pushes to. */
  readonly pushSocket: string
  /** The path at which QEMU may make a socket of its own. */
  readonly pullSocket: string
  /** The socket that QEMU sends the guest's memory to. */
  readonly ramSocket: string
  /** Takes connections as long as this process lives. */
  readonly lifeSocket: string
  readonly #folder: string
  readonly #owner: number | undefined
  #server: NbdServer | null = null
  #ramServer: Server | null = null
  readonly #life = createServer((connection) => connection.destroy())

  private constructor(folder: string, owner: number | undefined) {
    this.#folder = folder
    this.#owner = owner
    const [push, ram, pull, life] = SOCKETS.map((name) => join(folder, name))
    this.pushSocket = push
    this.ramSocket = ram
    this.pullSocket = pull
    this.lifeSocket = life
  }

  /**
   * Makes the folder. Only our user (and root) may write to it, so that a QEMU of another user cannot replace our sockets. That
   * user may enter it, but not list it, and owns a folder inside it.
   */
  static async create({ parent: named = tmpdir(), owner }: PushServerOptions = {}): Promise<PushServer> {
    // QEMU has another current folder than we have.
    const parent = resolve(named)
    await refuseShared(parent, [], 'name another folder by --socket-dir').catch((error) => {
      throw asVmapipeError(error, { file: parent })
    })
    const folder = await mkdtemp(join(parent, FOLDER)).catch((error) => {
      throw asVmapipeError(error, { file: parent })
    })
    await mkdir(join(folder, QEMUS), { mode: 0o700 })
    if (owner !== undefined) {
      await chmod(folder, 0o711)
      await lchown(join(folder, QEMUS), owner, -1)
    }
    const server = new PushServer(folder, owner)
    try {
      await listenOnPath(server.#life, server.lifeSocket)
      return server
    } catch (error) {
      await server.close()
      throw error
    }
  }

  async offer(targets: readonly PushTarget[]): Promise<void> {
    const exports = targets.map((disk, index) => ({ name: namesOf(index).target, disk }))
    const limits = { maxConnections: 2 * targets.length, maxRequests: MAX_REQUESTS, maxBytes: MAX_BYTES }
    this.#server = new NbdServer(exports, limits)
    await this.#server.listenOnPath(this.pushSocket, { owner: this.#owner })
  }

  async takeRam(accept: (connection: Socket) => void): Promise<void> {
    this.#ramServer = createServer({ pauseOnConnect: true }, accept)
    await listenOnPath(this.#ramServer, this.ramSocket, { owner: this.#owner })
  }

  async close(): Promise<void> {
    this.#life.close()
    this.#ramServer?.close()
    try {
      await this.#server?.close({ grace: 500 })
    } finally {
      await clear(this.#folder)
    }
  }
}

/**
 * Removes the folder of a run that was killed. QEMU says where it is, and may be hostile. So it removes only a folder of ours that
 * no other user can write to, and nothing that the path leads to later. What stays is no error.
 */
export async function removeSocketFolder(folder: string): Promise<void> {
  if (!basename(folder).startsWith(FOLDER)) return
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW).catch(() => null)
  if (handle === null) return
  try {
    const { uid, mode } = await handle.stat()
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return
    await clear(process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : folder)
    await rmdir(folder).catch(() => {})
  } finally {
    await handle.close()
  }
}

/** Whether a QEMU whose NBD server the run of this folder started has that server still: it removes the socket when the server ends. */
export async function hasPullSocket(folder: string): Promise<boolean> {
  const found = await lstat(join(folder, QEMUS, PULL)).catch(() => null)
  return found?.isSocket() ?? false
}

/** Unlinks known names only. If QEMU has put something else into its folder, that stays, and with it the folder. */
async function clear(folder: string): Promise<void> {
  await Promise.allSettled(SOCKETS.map((name) => unlink(join(folder, name))))
  await rmdir(join(folder, QEMUS)).catch(() => {})
  await rmdir(folder).catch(() => {})
}
