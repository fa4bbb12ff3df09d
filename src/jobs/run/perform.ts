/** Does a task: backs up a guest, and reads its archives back. */

import type { Check } from '../../catalog/entry.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { loadPipeline } from '../../config/load.ts'
import { Counters } from '../../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Meter } from '../../core/meter.ts'
import type { RunOptions } from '../../core/pipeline.ts'
import type { BoundStage } from '../../core/stage.ts'
import type { RunStats } from '../../core/stats.ts'
import { uuidText } from '../../formats/vma/header.ts'
import { plannedBackup } from '../../operations/backup.ts'
import { plannedGuestBackup } from '../../operations/backup-guest.ts'
import { copy } from '../../operations/copy.ts'
import { boundStages } from '../../operations/plan.ts'
import type { BackupProxmoxOptions } from '../../operations/proxmox/options.ts'
import { readBack } from '../../operations/read-back.ts'
import { type BackupResult, isBackup, runBackup } from '../../operations/run-backup.ts'
import { renamed } from '../../operations/since/naming.ts'
import { openParent } from '../../operations/since/open-parent.ts'
import type { AdjustableRate } from '../../stages/rate-limit.ts'
import { openPlace } from '../../storage/archive/open-place.ts'
import { hasName } from '../../storage/archive/spec.ts'
import { LatencyTrace } from './latency.ts'
import type {
  BackupTask,
  BackupTaskResult,
  BootTask,
  CopyResult,
  CopyTask,
  Phase,
  ResultOf,
  Task,
  Telling,
  VerifyTask,
} from './task.ts'

interface Context {
  signal: AbortSignal
  rate: AdjustableRate
  tell: (telling: Telling) => void
}

/** Milliseconds between two lines of progress. */
const EVERY_MS = 500

export async function perform(task: Task, context: Context): Promise<ResultOf<Task>> {
  if (task.kind === 'boot') return boot(task, context)
  if (task.kind === 'verify') return verifyOne(task, context)
  return task.kind === 'copy' ? copyAll(task, context) : backUp(task, context)
}

async function boot({ from, limit, identities, work }: BootTask, { signal, tell }: Context): Promise<Check> {
  const { checkBoot } = await import('../../catalog/boot-check.ts')
  const keys = keysOf(identities)
  tell({ type: 'phase', phase: 'boot' })
  const warn = (text: string) => tell({ type: 'note', level: 'warning', text })
  const { check } = await checkBoot({ from, limit, signal, warn, ...(keys && { keys }), ...(work && { work }) })
  return check
}

/** Errors: those that say nothing of the archive. */
async function verifyOne({ from, identities, work }: VerifyTask, { signal, rate, tell }: Context): Promise<Check> {
  const { checkOfError, passedCheck } = await import('../../catalog/sample.ts')
  const { verifyWithParents } = await import('../../operations/verify-chain.ts')
  const { recordCheck } = await import('../../catalog/annotations.ts')
  const keys = keysOf(identities)
  const warn = (text: string) => tell({ type: 'note', level: 'warning', text })
  const check = await watched(tell, 'verify', (looks) =>
    verifyWithParents({ from, signal, warn, ...looks, bwlimit: rate, ...(keys && { keys }) }),
  ).then(
    ({ drives }) => passedCheck(drives),
    (error) => {
      const found = checkOfError(error)
      if (found === null) throw error
      return found
    },
  )
  await recordCheck(from, { ...check, ...(work && { work }) })
  return check
}

async function copyAll(
  { copies, encrypt, identities }: CopyTask,
  { signal, rate, tell }: Context,
): Promise<CopyResult> {
  const keys = keysOf(identities)
  const warn = (text: string) => tell({ type: 'note', level: 'warning', text })
  for (const { from, to } of copies) {
    const sealing = to.endsWith('.age') && !from.endsWith('.age') ? encrypt : undefined
    await watched(tell, 'copy', (looks) =>
      copy({
        from,
        to,
        signal,
        warn,
        ...looks,
        bwlimit: rate,
        ...(keys && { keys }),
        ...(sealing && { encrypt: sealing }),
      }),
    )
  }
  return { places: copies.map(({ to }) => to) }
}

function keysOf(identities: readonly string[]): Keyring | undefined {
  return identities.length > 0 ? new Keyring({ identities: [...identities] }) : undefined
}

async function backUp(task: BackupTask, { signal, rate, tell }: Context): Promise<BackupTaskResult> {
  const keys = keysOf(task.identities)
  const begun = performance.now()
  const warn = (text: string) => tell({ type: 'note', level: 'warning', text })
  const common: RunOptions = { signal, warn, inform: (text) => tell({ type: 'note', level: 'info', text }) }
  const { buffer, threads } = task.kind === 'pipeline' ? ({} as RunOptions) : task.options
  const limits = { ...(buffer !== undefined && { buffer }), ...(threads !== undefined && { threads }) }
  const latency = new LatencyTrace()
  const guest: GuestLooks = {
    onGuest: ({ since }) => since > 0 && latency.begin(since * 1000),
    onWrites: (times) => latency.add(times, Date.now()),
  }
  const result = await watched(
    tell,
    'backup',
    async (looks) =>
      task.kind === 'proxmox'
        ? backUpProxmox(task.options, {
            ...common,
            ...limits,
            ...looks,
            ...guest,
            bwlimit: rate,
            ...(keys && { keys }),
          })
        : runBackup(await stagesOf(task, rate), {
            ...common,
            ...limits,
            ...looks,
            ...guest,
            keys,
            orFull: true,
            guest: guestOf(task),
          }),
    latency,
  )
  const places = await written(result, wantedPlaces(task), warn)
  const verified: Record<string, boolean> = {}
  let damage: VmapipeError | undefined
  for (const { place } of task.verify ? places : []) {
    if (place.endsWith('.age') && keys === undefined && !process.env.VMAPIPE_IDENTITY_FILE) {
      warn(`'${place}' cannot be read back without its secret key (identity)`)
      continue
    }
    try {
      await watched(tell, 'verify', (looks) =>
        readBack(place, { ...common, ...limits, ...looks, ...(keys && { keys }) }),
      )
      verified[place] = true
    } catch (error) {
      signal.throwIfAborted()
      verified[place] = false
      damage ??= asVmapipeError(error, { file: place })
    }
  }
  return {
    places: places.map(({ place }) => place),
    verified,
    kind: result.manifest.isIncremental ? 'incremental' : 'full',
    uuid: uuidText(result.manifest.uuid),
    ctime: result.manifest.ctime,
    seconds: (performance.now() - begun) / 1000,
    read: result.counters.get('read'),
    stored: places[0]?.size ?? result.counters.get('written'),
    size: result.drives.reduce((sum, { size }) => sum + size, 0),
    ...(result.guest && { longestWait: result.guest.waiting.max }),
    ...(damage && { damage: { code: damage.code, message: damage.text } }),
  }
}

/** A parent that cannot be used makes the archive a full one. */
async function backUpProxmox(
  options: BackupProxmoxOptions & { to: string },
  running: Partial<BackupProxmoxOptions>,
): Promise<BackupResult> {
  const { backupProxmox } = await import('../../operations/proxmox/backup-proxmox.ts')
  const { since, ...full } = options
  if (since !== undefined) {
    const parent = await openParent(since, running).catch((error) => {
      running.signal?.throwIfAborted()
      running.warn?.(`the archive is a full one: '${since}': ${asVmapipeError(error).text}`)
      return null
    })
    await parent?.close()
    if (parent !== null) return backupProxmox({ ...options, ...running })
    const also = full.also?.map((place) => ({ ...place, to: renamed(place.to, false) }))
    return backupProxmox({ ...full, ...running, to: renamed(full.to, false), ...(also && { also }) })
  }
  return backupProxmox({ ...full, ...running })
}

async function stagesOf(
  task: Exclude<BackupTask, { kind: 'proxmox' }>,
  rate: AdjustableRate,
): Promise<readonly BoundStage[]> {
  if (task.kind === 'guest') return boundStages(plannedGuestBackup({ ...task.options, bwlimit: rate }))
  if (task.kind === 'drives') return boundStages(plannedBackup({ ...task.options, bwlimit: rate }))
  // This process is that of one guest: its environment has what the config may ask for, and modules too.
  Object.assign(process.env, task.variables)
  const { pipeline } = await loadPipeline(task.file, { set: { ...task.set } })
  if (!isBackup(pipeline.stages)) {
    throw new VmapipeError('CONFIG', `${task.file}: this pipeline makes no archive of drives`, {
      hint: 'a pipeline of a job begins with guest-source or cluster-source, and has a vma-framer',
    })
  }
  return pipeline.stages
}

/** A pipeline does not know what the job calls its guest, and only archives of that name are found again and removed. */
function guestOf(task: Exclude<BackupTask, { kind: 'proxmox' }>): string | undefined {
  return task.kind === 'pipeline' ? task.variables.GUEST : undefined
}

/** The places of the task, and whether there has to be an archive. */
function wantedPlaces(task: BackupTask): { required: boolean }[] {
  if (task.kind === 'pipeline') return []
  return [{ required: true }, ...(task.options.also ?? []).map(({ required = true }) => ({ required }))]
}

/** The archives that are there: one at a place that is not required may have failed. */
async function written(
  { places }: BackupResult,
  wanted: readonly { required: boolean }[],
  warn: (text: string) => void,
): Promise<{ place: string; size: number }[]> {
  const found: { place: string; size: number }[] = []
  for (const [index, place] of places.entries()) {
    if (!hasName(place)) continue
    const isRequired = wanted[index]?.required ?? true
    try {
      const entry = await openPlace(place).stat?.()
      if (entry) found.push({ place, size: entry.size })
      else if (isRequired)
        throw new VmapipeError('FAILED', `the archive is not there after it was written`, { file: place })
    } catch (error) {
      if (isRequired) throw error
      warn(`nobody knows whether '${place}' was written: ${(error as Error).message}`)
    }
  }
  return found
}

/** How a pipeline is watched. */
type Looks = Required<Pick<RunOptions, 'counters' | 'onStats'>>

/** How the guest of a backup is watched. */
type GuestLooks = Pick<BackupProxmoxOptions, 'onGuest' | 'onWrites'>

async function watched<T>(
  tell: (telling: Telling) => void,
  phase: Phase,
  work: (looks: Looks) => Promise<T>,
  latency = new LatencyTrace(),
): Promise<T> {
  const counters = new Counters()
  const meter = new Meter(counters)
  tell({ type: 'phase', phase })
  let stats: RunStats | null = null
  const onStats = (latest: RunStats) => {
    stats = latest
  }
  const look = () =>
    tell({ type: 'progress', snapshot: meter.look(), stats: stats && rounded(stats), latency: latency.view })
  const timer = setInterval(look, EVERY_MS)
  try {
    return await work({ counters, onStats })
  } finally {
    clearInterval(timer)
  }
}

/** Digits that nobody reads make the status of a run long. */
function rounded({ elapsed, stages, bottleneck, ...stats }: RunStats): RunStats {
  const short = (seconds: number) => Math.round(seconds * 1000) / 1000
  return {
    ...stats,
    elapsed: short(elapsed),
    stages: stages.map(({ working, waitingForInput, waitingForNext, ...stage }) => ({
      ...stage,
      working: short(working),
      waitingForInput: short(waitingForInput),
      waitingForNext: short(waitingForNext),
    })),
    bottleneck: bottleneck && { ...bottleneck, share: short(bottleneck.share) },
  }
}
