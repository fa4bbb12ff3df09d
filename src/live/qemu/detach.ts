/** Takes out of a QEMU what a backup that was killed has left there. */

import { connect } from 'node:net'
import { dirname } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { parseNbdUri } from '../../protocol/nbd/uri.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import { footprintOf, namesIn } from './footprint.ts'
import { removeSocketFolder } from './push-server.ts'
import { disarmRam } from './ram-snapshot.ts'
import { remove } from './removal.ts'

/** What was removed, by name; nothing where there was nothing. FAILED where a backup is still running, or something stays. */
export async function detach(qmp: QmpClient): Promise<string[]> {
  const footprint = await footprintOf(qmp)
  if (namesIn(footprint).length === 0) return []
  const sockets = footprint.places.flatMap(socketOf)
  await refuseWhereAlive(sockets)
  // Only guarded push has QEMU serve something, and the filters come before the server.
  await disarmRam(qmp)
  const removed = await remove(qmp, { server: footprint.filters.length + footprint.snapshots.length > 0 })
  for (const folder of new Set(sockets.map(dirname))) await removeSocketFolder(folder)
  return removed
}

/** Whether the guest stands still. A run that was killed just while it took the point in time could not let it go on. */
export async function isPaused(qmp: QmpClient): Promise<boolean> {
  // qemu-storage-daemon has no guest.
  const { status } = await qmp.execute<{ status?: string }>('query-status').catch(() => ({ status: undefined }))
  return status === 'paused'
}

function socketOf(place: string): string[] {
  if (!place.startsWith('nbd+unix:')) return []
  const address = parseNbdUri(place)
  return 'socketPath' in address ? [address.socketPath] : []
}

/** Somebody who answers at the other end is no leftover. */
async function refuseWhereAlive(sockets: readonly string[]): Promise<void> {
  for (const path of new Set(sockets)) {
    if (!(await answers(path))) continue
    throw new VmapipeError('FAILED', 'another vmapipe is backing up this guest', {
      hint: 'wait for it, or end it with SIGTERM',
    })
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
