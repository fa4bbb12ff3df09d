/** Takes out of a QEMU what a backup that was killed has left there. */

import { dirname } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { hasPullSocket, PushServer, removeSocketFolder } from '../push-server.ts'
import { disarmRam } from '../ram/ram-snapshot.ts'
import { Claim, isClaim, refuseWhereAlive } from './claim.ts'
import { errorsOf, executeAll } from './commands.ts'
import { type Footprint, footprintOf, namesIn } from './footprint.ts'
import { letGoOn } from './guest-switch.ts'
import { removeNote } from './notes.ts'
import { type Overlay, OverlayError } from './overlays.ts'
import { bitmapAway, remove } from './removal.ts'

interface Detached {
  /** Names of what was removed. */
  removed: string[]
  /** The killed backup had made the guest stand still, and it goes on now. */
  continued: boolean
  /** Overlays on filters that are gone: their headers have to be mended. */
  overlays: Overlay[]
}

/** FAILED if a backup is still running, or something stays. `claim`: ours on this QEMU. */
export async function detach(qmp: QmpClient, claim: Claim): Promise<Detached> {
  const footprint = await footprintOf(qmp)
  const removed = namesIn(footprint).filter((name) => name !== claim.id)
  if (removed.length === 0) return { removed, continued: false, overlays: footprint.overlays }
  const claims = footprint.notes.filter(({ id }) => isClaim(id) && id !== claim.id)
  const sockets = [...footprint.places.flatMap(socketOf), ...claims.flatMap(({ text }) => (text === '' ? [] : [text]))]
  await refuseWhereAlive(sockets)
  const folders = [...new Set(sockets.map(dirname))]
  const continued = await setFree(qmp, footprint, folders)
  for (const { id } of claims) await removeNote(qmp, id)
  for (const folder of folders) await removeSocketFolder(folder)
  return { removed, continued, overlays: [] }
}

interface Wanted {
  /** The dirty bitmaps too that the next backups would begin at. */
  bitmaps?: boolean
}

/** Does the same with a claim of its own, for a caller that does nothing else with this QEMU. */
export async function detachAlone(qmp: QmpClient, { bitmaps = false }: Wanted = {}): Promise<Detached> {
  // If no folder can be made, the claim has no socket: a guest must not stay paused because a disk is full.
  const server = await PushServer.create().catch(() => null)
  try {
    const claim = await Claim.take(qmp, server?.lifeSocket ?? '')
    try {
      const detached = await detach(qmp, claim)
      if (detached.overlays.length > 0) throw new OverlayError(detached.overlays)
      return bitmaps ? { ...detached, removed: [...detached.removed, ...(await removeBitmaps(qmp))] } : detached
    } finally {
      await claim.release(qmp)
    }
  } finally {
    await server?.close()
  }
}

/** Removes all bitmaps of ours, with which the next backup of each target reads all. Resolves with their names. */
async function removeBitmaps(qmp: QmpClient): Promise<string[]> {
  const { bitmaps } = await footprintOf(qmp)
  const [error] = errorsOf(await executeAll(qmp, bitmaps.map(bitmapAway)))
  if (error === undefined) return [...new Set(bitmaps.map(({ name }) => name))]
  const { message } = asVmapipeError(error)
  throw new VmapipeError('FAILED', `a dirty bitmap cannot be removed: ${message}`, { cause: error })
}

/** Continues a guest that is paused because of us, before anything else. QEMU refuses that as long as it saves the memory. */
async function setFree(qmp: QmpClient, { exports, filters }: Footprint, folders: readonly string[]): Promise<boolean> {
  let continued = false
  try {
    await disarmRam(qmp)
  } finally {
    continued = await letGoOn(qmp)
  }
  // Only guarded push has QEMU serve something. A run may have been killed when it had started the server and nothing else.
  const server = exports.length + filters.length > 0 || (await Promise.all(folders.map(hasPullSocket))).includes(true)
  await remove(qmp, { server })
  return continued
}

/** Whether the guest is paused. An older vmapipe that was killed during the point in time left no mark. */
export async function isPaused(qmp: QmpClient): Promise<boolean> {
  // qemu-storage-daemon has no guest.
  const { status } = await qmp.execute<{ status?: string }>('query-status').catch(() => ({ status: undefined }))
  return status === 'paused'
}

/** QEMU writes the path as it is, with nothing escaped: nbd+unix:///NAME?socket=PATH */
function socketOf(place: string): string[] {
  const [, path] = /^nbd\+unix:\/\/\/[^?]*\?socket=(.+)$/s.exec(place) ?? []
  return path === undefined ? [] : [path]
}
