/**
 * A backup of a running guest whose disk `vmapipe serve` is: asks it for the archive, and does everything else here, in
 * another process: compression, and a sink that may hang or die.
 */

import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { ClusterItem, Manifest } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { ControlClient } from '../live/control/client.ts'
import { OUTCOME } from '../live/control/server.ts'
import type { LiveBackupStatus } from '../live/live-backup.ts'
import type { BackupOutcome } from '../live/service.ts'
import { bindStage } from '../stages/registry.ts'
import { type BackupOptions, compressorFor } from './backup.ts'
import { Census } from './census.ts'
import { type JobResult, runJob } from './job.ts'

export interface AttachOptions extends Omit<BackupOptions, 'drives' | 'bwlimit' | 'buffer' | 'uuid' | 'ctime'> {
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

const LOOK_MS = 1000

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
  const census = new Census()
  const { to, force, compress, guestBuffer, signal } = options
  const archive = new AbortController()
  const response = await client.backup(
    { ...options, buffer: guestBuffer, configs: await contents(options.configs) },
    either(archive.signal, signal),
  )
  // It is read by the pipeline; what ends it early is found out below.
  response.on('error', () => {})
  const watch = onGuest === undefined ? null : setInterval(() => look(client, onGuest), LOOK_MS)
  try {
    const result = await runJob(
      [
        bindStage('source', { from: response }),
        // Through the clusters and back, without copying: extents are whole again, and nothing is missing.
        bindStage('vma-deframer'),
        census.stage,
        progress(),
        bindStage('vma-framer'),
        ...compressorFor(compress, to),
        bindStage('sink', { to, ...(force && { force }) }),
      ],
      census,
      options,
    )
    if (response.trailers[OUTCOME.toLowerCase()] !== 'complete')
      throw new VmapipeError('INCOMPLETE', 'the service did not say that the archive is whole')
    // The archive is whole and durable, whatever has become of the service since.
    const guest = (await lastOf(client))?.status ?? null
    if (guest !== null) onGuest?.(guest)
    return { ...result, guest }
  } catch (error) {
    archive.abort()
    throw await reason(client, error, signal)
  } finally {
    if (watch !== null) clearInterval(watch)
  }
}

/** The service knows why the stream ended early; to us it is a broken connection. */
async function reason(client: ControlClient, error: unknown, signal: AbortSignal | undefined): Promise<unknown> {
  const cut = error instanceof VmapipeError && (error.stage === 'source' || error.code === 'INCOMPLETE')
  if (!cut || signal?.aborted) return error
  const last = await lastOf(client)
  const told = last === null ? "the service that is the guest's disk broke off" : (last.error ?? error.message)
  return new VmapipeError('FAILED', told, { cause: error })
}

/** How the backup ended, as the service tells it; null when it does not answer. */
async function lastOf(client: ControlClient): Promise<BackupOutcome | null> {
  for (let tries = 0; tries < 20; tries++) {
    const status = await client.status().catch(() => null)
    if (status === null) return null
    if (status.backup === null) return status.last
    await sleep(100)
  }
  return null
}

async function look(client: ControlClient, onGuest: (status: LiveBackupStatus) => void): Promise<void> {
  const status = await client.status().catch(() => null)
  if (status?.backup) onGuest(status.backup)
}

function sizeOf({ drives }: Manifest): number {
  return drives.reduce((sum, { size }) => sum + size, 0)
}

async function contents(configs: Record<string, string> = {}): Promise<Record<string, Uint8Array>> {
  return Object.fromEntries(
    await Promise.all(Object.entries(configs).map(async ([name, path]) => [name, await readFile(path)])),
  )
}

function either(a: AbortSignal, b: AbortSignal | undefined): AbortSignal {
  return b === undefined ? a : AbortSignal.any([a, b])
}
