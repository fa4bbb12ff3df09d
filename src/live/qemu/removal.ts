/** Takes out of a QEMU what we have put in. Every step is tried, also when one before it has failed. */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { type QmpClient, qmpErrorClass } from '../../protocol/qmp/client.ts'
import { type Command, errorsOf, executeAll, STEP_MS } from './commands.ts'
import { isOurs } from './names.ts'

/** What there is of ours in a QEMU, or may be: what is not there need not be removed. */
export interface Footprint {
  jobs: string[]
  exports: string[]
  snapshots: string[]
  /** Give the devices their own nodes again. */
  swaps: Command[]
  filters: string[]
  targets: string[]
  /** QEMU's NBD server was started by us. */
  server: boolean
}

/**
 * Throws FAILED with what is left where something is. Whether it is all gone is told by a look at QEMU afterwards, not
 * by what the steps came to: some were for things that had never been there, or went away by themselves.
 */
export async function remove(qmp: QmpClient, footprint: Footprint): Promise<void> {
  const errors: unknown[] = []
  const step = async (commands: readonly Command[]) => errors.push(...errorsOf(await executeAll(qmp, commands)))
  // What hangs at our end lets go now. Not while a job pushes: the guest would get its errors.
  if (footprint.jobs.length === 0) await executeAll(qmp, footprint.targets.map(yank))
  await step(footprint.jobs.map((device) => ['block-job-cancel', { device, force: true }]))
  await jobsGone(qmp, footprint.jobs).catch((error) => errors.push(error))
  errors.push(...(await removeExports(qmp, footprint.exports)))
  await step([
    ...footprint.snapshots.map(deletion),
    ...footprint.swaps,
    ...footprint.filters.map(deletion),
    ...footprint.targets.map(deletion),
    ...(footprint.server ? [['nbd-server-stop'] as const] : []),
  ])
  if (errors.length > 0) await checkGone(qmp, errors)
}

/** Everything of ours that QEMU knows. */
export async function ours(qmp: QmpClient): Promise<{ jobs: string[]; exports: string[]; nodes: string[] }> {
  const [jobs, exports, nodes] = await Promise.all([
    qmp.execute<{ id: string }[]>('query-jobs', undefined, { timeout: STEP_MS }),
    qmp.execute<{ id: string }[]>('query-block-exports', undefined, { timeout: STEP_MS }),
    qmp.execute<{ 'node-name'?: string }[]>('query-named-block-nodes', { flat: true }, { timeout: STEP_MS }),
  ])
  return {
    jobs: jobs.map(({ id }) => id).filter(isOurs),
    exports: exports.map(({ id }) => id).filter(isOurs),
    nodes: nodes.map((node) => node['node-name']).filter(isOurs),
  }
}

async function checkGone(qmp: QmpClient, errors: unknown[]): Promise<void> {
  const { jobs, exports, nodes } = await ours(qmp)
  const left = [...jobs, ...exports, ...nodes]
  if (left.length === 0) return
  const [first] = errors
  throw new VmapipeError(
    'FAILED',
    `${left.join(', ')} could not be removed from QEMU: ${asVmapipeError(first).message}`,
    {
      hint: 'the guest goes on; run `vmapipe detach` to try again',
      cause: first,
    },
  )
}

function yank(node: string): Command {
  return ['yank', { instances: [{ type: 'block-node', 'node-name': node }] }]
}

function deletion(node: string): Command {
  return ['blockdev-del', { 'node-name': node }]
}

/** An export is gone, and its node free, when QEMU says so by an event. */
async function removeExports(qmp: QmpClient, ids: string[]): Promise<unknown[]> {
  const gone = ids.map((id) => qmp.waitFor('BLOCK_EXPORT_DELETED', (data) => data?.id === id, STEP_MS))
  const results = await executeAll(
    qmp,
    ids.map((id) => ['block-export-del', { id, mode: 'hard' }]),
  )
  const under = gone.filter((_, index) => results[index].status === 'fulfilled')
  return [...errorsOf(results), ...errorsOf(await Promise.allSettled(under))]
}

async function jobsGone(qmp: QmpClient, ids: string[]): Promise<void> {
  for (const end = performance.now() + STEP_MS; ids.length > 0 && performance.now() < end; await sleep(20)) {
    const jobs = await qmp.execute<{ id: string }[]>('query-jobs')
    if (!jobs.some(({ id }) => ids.includes(id))) return
  }
}

/** Whether QEMU certainly did not do it: it said so. */
export function wasRefused(result: PromiseSettledResult<unknown>): boolean {
  return result.status === 'rejected' && qmpErrorClass(result.reason) !== undefined
}
