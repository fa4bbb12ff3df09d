/** Our end of the push: an NBD server in a folder of its own, with an export for every drive. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import { NbdServer } from '../../protocol/nbd/server/server.ts'
import { namesOf } from './names.ts'
import type { PushTarget } from './push-target.ts'

/** What QEMU may have in flight for one drive before the rest waits in its socket: requests, and bytes of them. */
const MAX_REQUESTS = 64
const MAX_BYTES = 4 << 20

export interface PushServer {
  /** Where QEMU finds us, and where it may put a socket of its own. */
  pushSocket: string
  pullSocket: string
  offer(targets: readonly PushTarget[]): Promise<void>
  close(): Promise<void>
}

/** Makes the folder, in `parent`; nobody but us may enter it. */
export async function makePushServer(parent = tmpdir()): Promise<PushServer> {
  const folder = await mkdtemp(join(parent, 'vmapipe-')).catch((error) => {
    throw asVmapipeError(error, { file: parent })
  })
  let server: NbdServer | null = null
  const pushSocket = join(folder, 'push')
  return {
    pushSocket,
    pullSocket: join(folder, 'pull'),
    async offer(targets) {
      const exports = targets.map((disk, index) => ({ name: namesOf(index).target, disk }))
      const limits = { maxConnections: 2 * targets.length, maxRequests: MAX_REQUESTS, maxBytes: MAX_BYTES }
      server = new NbdServer(exports, limits)
      await server.listenOnPath(pushSocket)
    },
    async close() {
      try {
        await server?.close({ grace: 500 })
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  }
}
