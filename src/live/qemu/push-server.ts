/** Our end of the push: an NBD server in a folder of its own, with an export for every drive. */

import { chown, mkdtemp, rm, rmdir, unlink } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import { NbdServer } from '../../protocol/nbd/server/server.ts'
import { listenOnPath } from '../../protocol/nbd/server/socket-file.ts'
import { namesOf } from './names.ts'
import type { PushTarget } from './push-target.ts'

/** The folder's name begins so, and these are in it. */
const FOLDER = 'vmapipe-'
const SOCKETS = ['push', 'pull', 'ram']

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
    this.pushSocket = join(folder, 'push')
    this.pullSocket = join(folder, 'pull')
    this.ramSocket = join(folder, 'ram')
  }

  /** Makes the folder; nobody but us and QEMU may enter it. */
  static async create({ parent = tmpdir(), owner }: PushServerOptions = {}): Promise<PushServer> {
    const folder = await mkdtemp(join(parent, FOLDER)).catch((error) => {
      throw asVmapipeError(error, { file: parent })
    })
    if (owner !== undefined) await chown(folder, owner, -1)
    return new PushServer(folder, owner)
  }

  async offer(targets: readonly PushTarget[]): Promise<void> {
    const exports = targets.map((disk, index) => ({ name: namesOf(index).target, disk }))
    const limits = { maxConnections: 2 * targets.length, maxRequests: MAX_REQUESTS, maxBytes: MAX_BYTES }
    this.#server = new NbdServer(exports, limits)
    await this.#server.listenOnPath(this.pushSocket)
    if (this.#owner !== undefined) await chown(this.pushSocket, this.#owner, -1)
  }

  async takeRam(accept: (connection: Socket) => void): Promise<void> {
    this.#ramServer = createServer({ pauseOnConnect: true }, accept)
    await listenOnPath(this.#ramServer, this.ramSocket)
    if (this.#owner !== undefined) await chown(this.ramSocket, this.#owner, -1)
  }

  async close(): Promise<void> {
    this.#ramServer?.close()
    try {
      await this.#server?.close({ grace: 500 })
    } finally {
      await rm(this.#folder, { recursive: true, force: true })
    }
  }
}

/** That of a run which was killed. Nothing goes but what is a PushServer's, and no error comes of what stays. */
export async function removeSocketFolder(folder: string): Promise<void> {
  if (!basename(folder).startsWith(FOLDER)) return
  await Promise.allSettled(SOCKETS.map((name) => unlink(join(folder, name))))
  await rmdir(folder).catch(() => {})
}
