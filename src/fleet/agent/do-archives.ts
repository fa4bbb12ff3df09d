/** Reads, boots and removes archives of the places of a job. An archive that is asked for must be one that the job's catalog lists. */

import { join } from 'node:path'
import { readCatalog } from '../../catalog/catalog.ts'
import type { CatalogEntry, Check } from '../../catalog/entry.ts'
import { describe, printable, VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import { formatBytes } from '../../core/size.ts'
import { pathIn } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { findGuests } from '../../jobs/guests/find.ts'
import { baseOf, folderAt } from '../../jobs/run/places.ts'
import { pruneGuest } from '../../jobs/run/prune-guest.ts'
import { Slots } from '../../jobs/run/slots.ts'
import { startWorker } from '../../jobs/run/worker.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import type { Work } from '../messages/work.ts'
import { keysOf } from './archives.ts'
import { jobOf, tellArchives } from './do-run.ts'
import type { DeskOptions, Item } from './item.ts'
import { Removals } from './removals.ts'

interface Done {
  outcome: 'done' | 'failed' | 'refused'
  text: string
}

const BOOT_MS = 300_000
/** Milliseconds after which it is tried again to get the lock of a guest. */
const BUSY_MS = 1000

/** Errors: USAGE for an archive that the job does not have, FAILED, ABORTED. */
export async function doVerify(item: Item, work: Work & { kind: 'verify' }, options: DeskOptions): Promise<Done> {
  const job = await jobOf(work.job, options)
  const archive = await archiveOf(job, work.archive, item.signal)
  item.guest = archive.guest
  const kind = work.boot ? 'boot' : 'verify'
  // The agent was killed when it had ended, before it could keep that.
  const before = archive.checks.find((check) => check.kind === kind && check.work === work.id)
  const { passed, detail = '' } = before ?? (await checked(job, archive.place, item, work, options))
  if (archive.guest !== null) await tellArchives(job, archive.guest, options)
  return {
    outcome: passed ? 'done' : 'failed',
    text: detail || (passed ? 'the archive is whole' : 'the archive is damaged'),
  }
}

async function checked(
  job: Job,
  from: string,
  item: Item,
  work: Work & { kind: 'verify' },
  options: DeskOptions,
): Promise<Check> {
  const identities = (job.identity ?? []).map((path) => pathIn(job, path))
  const common = { from, identities, rate: job.rate ?? null, work: work.id }
  const limit = job.check?.['boot-timeout'] ?? BOOT_MS
  const start = options.start ?? startWorker
  const running = work.boot
    ? start({ ...common, kind: 'boot', limit }, () => {})
    : start({ ...common, kind: 'verify' }, () => {})
  const cancel = () => running.cancel((item.signal.reason as Error).message)
  item.signal.addEventListener('abort', cancel, { once: true })
  if (item.signal.aborted) cancel()
  return running.ended.finally(() => item.signal.removeEventListener('abort', cancel))
}

/** The archive of the catalog that has this place. The text of the planner goes into no path. */
async function archiveOf(job: Job, asked: string, signal: AbortSignal): Promise<CatalogEntry> {
  for (const { place } of job.to) {
    if (!asked.startsWith(baseOf(place))) continue
    const all = await readCatalog(place, { keys: keysOf(job), signal })
    const found = all.find((entry) => entry.place === asked)
    // An archive that is not in the folder of a guest was not made by a job.
    if (found !== undefined && asked.slice(baseOf(place).length).includes('/')) return found
  }
  throw new VmapipeError('USAGE', `the job '${job.name}' has no archive '${printable(asked)}'`)
}

/** Errors: USAGE for a guest that the job does not have, FAILED, ABORTED. */
export async function doPrune(item: Item, work: Work & { kind: 'prune' }, options: DeskOptions): Promise<Done> {
  const { signal } = item
  const job = await jobOf(work.job, options)
  if (job.to.every(({ keep }) => keep === undefined))
    throw new VmapipeError('USAGE', `the job '${job.name}' keeps all archives`)
  const slots = new Slots(options.runtime)
  const warnings: string[] = []
  const removals = await Removals.open(join(options.state, 'fleet', 'prunes'), work.id)
  const earlier = await removals.earlier()
  let archives = earlier.length
  let bytes = earlier.reduce((sum, { size }) => sum + size, 0)
  // A disk that is full gets room by what is removed.
  const onRemoving = (entry: CatalogEntry) =>
    removals.add(entry).catch((error) => options.log('warning', `what is removed is not noted: ${describe(error)}`))
  for (const guest of await guestsOf(job, work.guest, options.state, signal)) {
    const held = await lockOf(slots, guest, signal)
    try {
      const warn = (text: string) => void warnings.push(text)
      const removed = await pruneGuest(guest, job.to, { keys: keysOf(job), now: Date.now(), signal, warn, onRemoving })
      for (const one of removed) {
        archives += one.archives
        bytes += one.bytes
      }
      if (removed.length > 0) await tellArchives(job, guest, options)
    } finally {
      await held.release()
    }
    signal.throwIfAborted()
  }
  const text = [`${archives} archives were removed, ${formatBytes(bytes)}`, ...warnings].join('; ')
  return { outcome: warnings.length === 0 ? 'done' : 'failed', text }
}

/** The guests that the job has now, and those that it has backed up before. */
async function guestsOf(job: Job, asked: string | undefined, state: string, signal: AbortSignal): Promise<string[]> {
  const { guests } = await findGuests(job, signal)
  const remembered = await new JobState(state, job.name, () => {}).guests()
  const all = [...new Set([...guests.map(({ name }) => name), ...remembered.keys()])]
  const known = await withFolders(job, all)
  if (asked === undefined) return known
  if (known.includes(asked)) return [asked]
  throw new VmapipeError('USAGE', `the job '${job.name}' has no archives of a guest '${printable(asked)}'`)
}

async function withFolders(job: Job, guests: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const guest of guests) {
    for (const entry of job.to) {
      const archives = await readCatalog(folderAt(entry, guest)).catch(() => [])
      if (archives.length === 0) continue
      found.push(guest)
      break
    }
  }
  return found
}

/** A guest whose backup runs is waited for. */
async function lockOf(slots: Slots, guest: string, signal: AbortSignal) {
  for (;;) {
    const held = await slots.take([{ name: `guest:${guest}`, count: 1 }])
    if (!('full' in held)) return held
    await sleepUntilAborted(BUSY_MS, signal)
  }
}
