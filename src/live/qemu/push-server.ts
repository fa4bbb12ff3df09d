/** Our end of the push: an NBD server in a folder of its own, with an export for every drive. */

import { chmod, lchown, lstat, mkdir, mkdtemp, rmdir, stat, unlink } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { NbdServer } from '../../protocol/nbd/server/server.ts'
import { listenOnPath } from '../../protocol/nbd/server/socket-file.ts'
import { namesOf } from './names.ts'
import type { PushTarget } from './push-target.ts'

/** The folder's name begins so. */
const FOLDER = 'vmapipe-'
/** The one folder in it that QEMU may write to. */
const QEMUS = 'qemu'
/** What there may be in them. */
const SOCKETS = ['push', 'ram', join(QEMUS, 'pull')]

/** What QEMU may have in flight for one drive before the rest waits in its socket: requests, and bytes of them. */
const MAX_REQUESTS = 64
const MAX_BYTES = 4 << 20

export interface PushServerOptions {
  /** Where its folder is made; the system's place for temporary files unless given. */
  parent?: string
  /** User id of QEMU, where that is not ours. */
  owner?: number
}

export class PushServer {
  /** Where QEMU finds us. */
  readonly pushSocket: string
  /** Where QEMU may put a socket of its own. */
  readonly pullSocket: string
  /** Where QEMU sends the guest's memory. */
  readonly ramSocket: string
  readonly #folder: string
  readonly #owner: number | undefined
  #server: NbdServer | null = null
  #ramServer: Server | null = null

  private constructor(folder: string, owner: number | undefined) {
    this.#folder = folder
    this.#owner = owner
    const [push, ram, pull] = SOCKETS.map((name) => join(folder, name))
    this.pushSocket = push
    this.ramSocket = ram
    this.pullSocket = pull
  }

  /**
   * Makes the folder. Nobody but us may write to it, so that a QEMU of another user swaps nothing there; that user may enter it, by
   * names that are known, and has a folder in it.
   */
  static async create({ parent = tmpdir(), owner }: PushServerOptions = {}): Promise<PushServer> {
    await refuseUnsafe(parent)
    const folder = await mkdtemp(join(parent, FOLDER)).catch((error) => {
      throw asVmapipeError(error, { file: parent })
    })
    await mkdir(join(folder, QEMUS), { mode: 0o700 })
    if (owner !== undefined) {
      await chmod(folder, 0o711)
      await lchown(join(folder, QEMUS), owner, -1)
    }
    return new PushServer(folder, owner)
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
    this.#ramServer?.close()
    try {
      await this.#server?.close({ grace: 500 })
    } finally {
      await clear(this.#folder)
    }
  }
}

/**
 * Removes the folder of a run that was killed. QEMU says where it is, and may be hostile: only a folder of ours goes, that nobody
 * else can write to. No error comes of what stays.
 */
export async function removeSocketFolder(folder: string): Promise<void> {
  if (!basename(folder).startsWith(FOLDER)) return
  const found = await lstat(folder).catch(() => null)
  if (!found?.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) return
  await clear(folder)
}

/** Known names alone are unlinked: what else QEMU has put into its folder stays, and with it the folder. */
async function clear(folder: string): Promise<void> {
  await Promise.allSettled(SOCKETS.map((name) => unlink(join(folder, name))))
  await rmdir(join(folder, QEMUS)).catch(() => {})
  await rmdir(folder).catch(() => {})
}

/** In a folder that others may write to, without the sticky bit, they may replace ours by one of theirs. It matters to root. */
async function refuseUnsafe(parent: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { mode } = await stat(parent).catch((error) => {
    throw asVmapipeError(error, { file: parent })
  })
  if ((mode & 0o022) === 0 || (mode & 0o1000) !== 0) return
  throw new VmapipeError('USAGE', 'others may write to this folder, and replace the sockets of a backup in it', {
    file: parent,
    hint: 'name another one by --socket-dir, or set its sticky bit (chmod +t)',
  })
}
