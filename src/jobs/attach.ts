/**
 * A backup of a running guest whose disk `vmapipe serve` is: asks it for the archive, and does everything else here, in
 * another process: compression, and a sink that may hang or die.
 */

import { randomUUID } from 'node:crypto'
import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { ClusterItem, Manifest } from '../core/items.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { MAX_CONFIG_SIZE } from '../formats/vma/header.ts'
import { type BackupWish, ControlClient } from '../live/control/client.ts'
import { confirmation, feedSource } from '../live/control/handover/feed-source.ts'
import { serviceSource } from '../live/control/service-source.ts'
import { Watch } from '../live/control/watch.ts'
import { type LiveBackupStatus, PIECE_CLUSTERS } from '../live/live-backup.ts'
import { readConfigFile } from '../storage/config-file.ts'
import { announce, tellPointInTime } from './announce.ts'
import type { BackupOptions } from './backup.ts'
import { type JobResult, runJob } from './job.ts'
import { compressorFor, framerFor } from './write-archive.ts'

export interface AttachOptions
  extends Omit<BackupOptions, 'drives' | 'bwlimit' | 'buffer' | 'uuid' | 'ctime' | 'forceShare'> {
  /** Control socket of the service. */
  control: string
  /** Names of the drives; all that it serves unless given. */
  drives?: string[]
  /** Bytes of old data that may wait in the service's memory. */
  guestBuffer?: number
  /** Milliseconds that a request of the guest waits for the backup at most. */
  maxStall?: number
  /** Bytes a second that are scanned at most. */
  bwlimit?: number
  uuid?: string
  /** Is told how the guest is doing, about every second and at the end. */
  onGuest?: (status: LiveBackupStatus) => void
}

export interface AttachResult extends JobResult {
  /** How the guest did; null where the service is not there any more to tell. */
  guest: LiveBackupStatus | null
}

/** How far the drives are archived, which the length of the stream does not tell. */
const progress = defineStage({
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

/** Resolves when the archive is complete and durable. Errors: USAGE, FAILED, INCOMPLETE, ABORTED. */
export async function attach({ control, onGuest, ...options }: AttachOptions): Promise<AttachResult> {
  const client = new ControlClient(control)
  const { to, force, inform, compress, guestBuffer, signal, uuid = randomUUID() } = options
  // Before the point in time: it may be refused.
  const compressor = compressorFor(options)
  const census = new Census(announce({ inform, guest: `guest at ${control}`, to, compress }))
  const archive = new AbortController()
  // Checksums are made here, where they cost the guest nothing.
  const wish = {
    ...options,
    uuid,
    buffer: guestBuffer,
    configs: await contents(options.configs, signal),
    checksums: false,
  }
  const { beginning, end } = await ask(client, wish, either(archive.signal, signal))
  const told = once((since: number) => tellPointInTime(inform, since))
  const watch = new Watch(client, uuid, (status) => {
    told(status.since)
    onGuest?.(status)
  })
  try {
    const result = await runJob(
      [
        ...beginning,
        census.stage,
        progress(),
        // A guest may wait for the end of one that goes into a slow sink.
        framerFor(options, PIECE_CLUSTERS),
        ...compressor,
        ...end,
        bindStage('sink', { to, ...(force && { force }) }),
      ],
      census,
      { ...options, signal: either(watch.givenUp, signal) },
    )
    // The archive is whole and durable, whatever has become of the service since.
    const guest = (await watch.outcome())?.status ?? null
    if (guest !== null) {
      told(guest.since)
      onGuest?.(guest)
    }
    return { ...result, guest }
  } catch (error) {
    archive.abort()
    throw signal?.aborted ? error : await reason(watch, error)
  } finally {
    watch.stop()
  }
}

/** Out of the service's memory where we may look into it, else as an archive. */
async function ask(
  client: ControlClient,
  wish: BackupWish,
  signal: AbortSignal,
): Promise<{ beginning: BoundStage[]; end: BoundStage[] }> {
  const feed = await client.clusters(wish, signal)
  if (feed !== null)
    return { beginning: [feedSource({ feed }), bindStage('zero-elider')], end: [confirmation({ feed })] }
  const response = await client.backup(wish, signal)
  // Through the clusters and back, without copying: extents are whole again, and nothing is missing.
  return { beginning: [serviceSource({ response }), bindStage('vma-deframer')], end: [] }
}

/** The service knows why the stream ended early; to us it is a broken connection. */
async function reason(watch: Watch, error: unknown): Promise<unknown> {
  if (!(error instanceof VmapipeError)) return error
  if (error === watch.givenUp.reason) return new VmapipeError('FAILED', error.message, { cause: error })
  const cut = error.stage === 'source' || error.stage === 'confirmation' || error.code === 'INCOMPLETE'
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

async function contents(
  configs: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Record<string, Uint8Array>> {
  const read = async (path: string) => readConfigFile(path, MAX_CONFIG_SIZE, signal)
  return Object.fromEntries(
    await Promise.all(Object.entries(configs).map(async ([name, path]) => [name, await read(path)])),
  )
}

function either(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b])
}
