/** Takes out of a QEMU what a backup that was killed has left there. */

import { connect } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'
import { parseNbdUri } from '../../protocol/nbd/uri.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import { footprintOf, namesIn } from './footprint.ts'
import { remove } from './removal.ts'

/** What was removed, by name; nothing where there was nothing. FAILED where a backup is still running, or something stays. */
export async function detach(qmp: QmpClient): Promise<string[]> {
  const footprint = await footprintOf(qmp)
  if (namesIn(footprint).length === 0) return []
  await refuseWhereAlive(footprint.places)
  // Only guarded push has QEMU serve something, and the filters come before the server.
  return remove(qmp, { server: footprint.filters.length + footprint.snapshots.length > 0 })
}

/** Somebody who answers at the other end is no leftover. */
async function refuseWhereAlive(places: readonly string[]): Promise<void> {
  for (const place of places) {
    if (!place.startsWith('nbd+unix:')) continue
    const address = parseNbdUri(place)
    if (!('socketPath' in address) || !(await answers(address.socketPath))) continue
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
