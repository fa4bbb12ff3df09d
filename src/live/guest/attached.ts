/**
 * Runs a pipeline with a guest whose disk `vmapipe serve` is. The service sets the point in time and copies what the guest
 * overwrites; everything else is done here, in another process: compression, and a sink that may hang or fail.
 */

import { randomUUID } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'
import type { ClusterItem, Manifest } from '../../core/items.ts'
import { type BoundStage, defineStage, type SurroundedRun, z } from '../../core/stage.ts'
import { type ConfigFiles, namedConfigs, readConfigs } from '../../stages/cluster-source/config-files.ts'
import { vmaFramer } from '../../stages/vma-framer.ts'
import { type BackupWish, ControlClient } from '../control/client.ts'
import type { ServiceStatus } from '../control/controlled-service.ts'
import { confirmation, feedSource } from '../control/handover/feed-source.ts'
import { Watch } from '../control/watch.ts'
import { type LiveBackupStatus, PIECE_CLUSTERS } from '../live-backup.ts'
import { tellPointInTime } from '../point-in-time.ts'
import { writeTimesOf } from '../write-times.ts'
import { type Comparison, comparisonWith, withReasons } from './comparison.ts'
import type { GuestOptions } from './options.ts'
import type { GuestParts } from './parts.ts'
import { withServedMachine } from './served-machine.ts'
import { parentIn } from './tracking.ts'

/** Counts how far the drives are archived, which the length of the stream does not tell. */
const counted = defineStage({
  name: 'progress',
  summary: 'counts clusters as they go by',
  input: 'clusters',
  output: 'clusters',
  options: z.strictObject({}),
  create:
    (_, { counters }) =>
    (item: ClusterItem) => {
      if (item.kind === 'run') counters.add('done', item.count * CLUSTER_SIZE)
      else counters.set('total', sizeOf(item))
      return item
    },
})

export async function runAttached<Result>(
  control: string,
  options: GuestOptions,
  { interceptor, rate, dial, rest }: GuestParts,
  { signal, inform, run }: SurroundedRun<Result>,
): Promise<Result> {
  const { listener = {}, uuid = randomUUID() } = options
  const client = new ControlClient(control)
  listener.name?.(`guest at ${control}`)
  const archive = new AbortController()
  const drives = await chosen(client, options, signal)
  const parent = parentIn(rest)
  const comparison = parent && (await comparisonWith(client, parent, drives, signal))
  // A service that cannot tell refuses the backup too, and says why.
  const service = await client.status(signal).catch(() => null)
  const status = service ?? { drives: [] }
  tellWrites(service)
  const wish = {
    uuid,
    drives,
    ...comparison?.wish,
    configs: withServedMachine(await contents(options.configs, signal), status, drives, options),
    buffer: interceptor.buffer,
    maxStall: interceptor['max-stall'],
    bwlimit: rate,
  }
  const stages = await ask(client, wish, rest, { signal: either(archive.signal, signal), comparison })
  const told = once((since: number) => tellPointInTime(inform, since))
  // A service that is older cannot change its limit: then the one that it began with stays.
  const unwatch = dial?.watch((bytes) => void client.limit(bytes).catch(() => {}))
  const watch = new Watch(client, uuid, (status, service) => {
    told(status.since)
    listener.status?.(status)
    tellWrites(service)
  })
  try {
    const result = await run(stages, either(watch.givenUp, signal))
    // The archive is whole and durable, whatever has become of the service since.
    const guest = (await watch.outcome())?.status ?? null
    if (guest !== null) endWith(guest)
    listener.end?.(guest)
    return result
  } catch (error) {
    archive.abort()
    throw signal?.aborted ? error : await reason(watch, error)
  } finally {
    watch.stop()
    unwatch?.()
  }

  function tellWrites(service: ServiceStatus | null): void {
    const times = service && writeTimesOf(service)
    if (times) listener.writes?.(times)
  }

  function endWith(status: LiveBackupStatus): void {
    told(status.since)
    listener.status?.(status)
  }
}

/** The names of the drives; undefined for all. */
async function chosen(
  client: ControlClient,
  { drives, exclude }: GuestOptions,
  signal: AbortSignal | undefined,
): Promise<string[] | undefined> {
  const names = drives === undefined ? undefined : Array.isArray(drives) ? drives : Object.keys(drives)
  if (exclude.length === 0) return names
  const all = (await client.status(signal)).drives.map(({ name }) => name)
  const unknown = exclude.find((name) => !all.includes(name))
  if (unknown !== undefined)
    throw new VmapipeError('USAGE', `the guest has no drive '${unknown}' to leave out`, {
      hint: `it has ${all.join(', ')}`,
    })
  const left = (names ?? all).filter((name) => !exclude.includes(name))
  if (left.length === 0) throw new VmapipeError('USAGE', 'every drive of the guest is left out')
  return left
}

/** The pipeline, which begins with what the service hands over. */
async function ask(
  client: ControlClient,
  wish: BackupWish,
  rest: readonly BoundStage[],
  { signal, comparison }: { signal: AbortSignal; comparison: Comparison | null },
): Promise<BoundStage[]> {
  // An extent in a slow sink holds memory that a write of the guest may need.
  let patient = rest.map(withSmallExtents)
  const feed = await client.backup(wish, signal)
  if (comparison !== null) patient = withReasons(patient, await comparison.reasons(wish.uuid!, signal))
  // Nothing may be finished before the service says that its memory was whole.
  return [feedSource({ feed }), counted(), ...patient.slice(0, -1), confirmation({ feed }), ...patient.slice(-1)]
}

function withSmallExtents(stage: BoundStage): BoundStage {
  if (stage.definition.name !== vmaFramer.definition.name) return stage
  const options = stage.options as { slots: number }
  return { ...stage, options: { ...options, slots: Math.min(options.slots, PIECE_CLUSTERS) } }
}

/** The service knows why the stream ended early; here it is only a broken connection. */
async function reason(watch: Watch, error: unknown): Promise<unknown> {
  if (!(error instanceof VmapipeError)) return error
  if (error === watch.givenUp.reason) return new VmapipeError('FAILED', error.message, { cause: error })
  const cut = error.stage === 'source' || error.stage === 'confirmation'
  if (!cut) return error
  const outcome = await watch.outcome()
  const told = outcome === null ? "the service that is the guest's disk broke off" : (outcome.error ?? error.message)
  return new VmapipeError('FAILED', told, { cause: error })
}

function once<T>(tell: (value: T) => void): (value: T) => void {
  let isTold = false
  return (value) => {
    if (!isTold) tell(value)
    isTold = true
  }
}

function sizeOf({ drives }: Manifest): number {
  return drives.reduce((sum, { size }) => sum + size, 0)
}

async function contents(configs: ConfigFiles, signal?: AbortSignal): Promise<Record<string, Uint8Array>> {
  const files = await readConfigs(namedConfigs(configs), signal)
  return Object.fromEntries(files.map(({ name, data }) => [name, data]))
}

function either(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b])
}
