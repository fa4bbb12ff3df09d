/**
 * Takes our nodes, jobs and exports out of a QEMU. QEMU says which they are: so it does not matter how far a backup had come,
 * whether it was this one, or how often this is tried. No device is ever given the node that it has already, which aborts QEMU 10.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { FROZEN } from '../bitmaps/names.ts'
import { type Command, errorsOf, executeAll, STEP_MS } from './commands.ts'
import { blockNamesIn, type Footprint, footprintOf } from './footprint.ts'
import { holdOf, isHold, targetOf } from './names.ts'
import { OverlayError } from './overlays.ts'

/** Milliseconds between two questions whether an export is gone; each costs virsh a command. */
const ASK_MS = 100

interface RemoveOptions {
  /** QEMU's NBD server was started for the backup. It is stopped too, unless it has exports that are not ours. */
  server: boolean
}

/**
 * Resolves with the names of what was there. Every step is tried, even if one before it failed; FAILED if something is left. A
 * filter below an overlay of the guest's owner stays, with what it needs, and is an OverlayError.
 */
export async function remove(qmp: QmpClient, { server }: RemoveOptions): Promise<string[]> {
  const footprint = await footprintOf(qmp)
  const { jobs, exports, targets, overlays } = footprint
  const kept = new Set(
    overlays.flatMap(({ filter }) => (filter === null ? [] : [filter, holdOf(filter), targetOf(filter)])),
  )
  if (overlays.length > 0) kept.add(FROZEN)
  const errors: unknown[] = []
  // Ends requests that hang at our end. Not while a job pushes: the guest would get its errors.
  if (jobs.length === 0) await executeAll(qmp, targets.map(yank))
  else errors.push(...(await removeJobs(qmp, jobs)))
  const holds = exports.filter((id) => isHold(id) && !kept.has(id))
  errors.push(
    ...(await removeExports(
      qmp,
      exports.filter((id) => !isHold(id)),
    )),
  )
  errors.push(...errorsOf(await executeAll(qmp, nodesAway(footprint, kept))))
  errors.push(...(await removeExports(qmp, holds)))
  // Exports and jobs use them until now.
  errors.push(
    ...errorsOf(await executeAll(qmp, footprint.frozen.filter(({ name }) => !kept.has(name)).map(bitmapAway))),
  )
  const stopsServer = server && !footprint.hasForeignExports && !exports.some((id) => kept.has(id))
  if (stopsServer) errors.push(...errorsOf(await executeAll(qmp, [['nbd-server-stop']])))
  if (errors.length > 0) await checkGone(qmp, errors[0], kept)
  if (overlays.length > 0) throw new OverlayError(overlays)
  return blockNamesIn(footprint)
}

function nodesAway({ snapshots, swaps, filters, targets, marks }: Footprint, kept: Set<string>): Command[] {
  const goes = (node: string) => !kept.has(node)
  return [
    ...snapshots.map(deletion),
    ...swaps.map(({ path, node }) => ['qom-set', { path, property: 'drive', value: node }] as const),
    ...filters.filter(goes).map(deletion),
    ...targets.filter(goes).map(deletion),
    ...marks.map(deletion),
  ]
}

/** A step may fail because its object went away by itself, such as a device that was unplugged: only what is left counts. */
async function checkGone(qmp: QmpClient, first: unknown, kept: Set<string>): Promise<void> {
  const left = blockNamesIn(await footprintOf(qmp)).filter((name) => !kept.has(name))
  if (left.length === 0) return
  const message = `${left.join(', ')} could not be taken out of QEMU: ${asVmapipeError(first).message}`
  throw new VmapipeError('FAILED', message, { hint: 'the guest goes on; `vmapipe detach` tries again', cause: first })
}

export function bitmapAway({ node, name }: { node: string; name: string }): Command {
  return ['block-dirty-bitmap-remove', { node, name }]
}

function yank(node: string): Command {
  return ['yank', { instances: [{ type: 'block-node', 'node-name': node }] }]
}

function deletion(node: string): Command {
  return ['blockdev-del', { 'node-name': node }]
}

/** Resolves when the exports are gone and their nodes free, which takes as long as their clients' requests. */
async function removeExports(qmp: QmpClient, ids: readonly string[]): Promise<unknown[]> {
  const gone = ids.map((id) => exportGone(qmp, id))
  const commands = ids.map((id) => ['block-export-del', { id, mode: 'hard' }] as const)
  const results = await executeAll(qmp, commands)
  const under = gone.filter((_, index) => results[index].status === 'fulfilled')
  return [...errorsOf(results), ...errorsOf(await Promise.allSettled(under.map((wait) => wait())))]
}

/** To be called before the export is deleted; what it returns, after. QEMU tells by an event, or has to be asked. */
function exportGone(qmp: QmpClient, id: string): () => Promise<unknown> {
  if (qmp.watching !== 'events') return () => askUntilGone(qmp, id)
  const event = qmp.waitFor('BLOCK_EXPORT_DELETED', (data) => data?.id === id, STEP_MS)
  return () => event
}

async function askUntilGone(qmp: QmpClient, id: string): Promise<void> {
  for (const end = performance.now() + STEP_MS; performance.now() < end; await sleep(ASK_MS)) {
    const exports = await qmp.execute<{ id: string }[]>('query-block-exports', undefined, { timeout: STEP_MS })
    if (!exports.some((left) => left.id === id)) return
  }
  throw new VmapipeError('FAILED', `the export ${id} is still there after ${STEP_MS / 1000} s`)
}

async function removeJobs(qmp: QmpClient, ids: readonly string[]): Promise<unknown[]> {
  const commands = ids.map((device) => ['block-job-cancel', { device, force: true }] as const)
  const errors = errorsOf(await executeAll(qmp, commands))
  for (const end = performance.now() + STEP_MS; performance.now() < end; await sleep(20)) {
    const jobs = await qmp.execute<{ id: string; status: string }[]>('query-jobs', undefined, { timeout: STEP_MS })
    const left = jobs.filter(({ id }) => ids.includes(id))
    if (left.length === 0) return []
    const concluded = left.filter(({ status }) => status === 'concluded')
    await executeAll(
      qmp,
      concluded.map(({ id }) => ['job-dismiss', { id }]),
    )
  }
  return [...errors, new VmapipeError('FAILED', `the jobs ${ids.join(', ')} do not end`)]
}
