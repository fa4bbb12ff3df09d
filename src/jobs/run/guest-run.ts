/** One guest in a run: what it is doing, what became of it, and its backup from the hook before it to the archives that retention removes. */

import { recordCheck } from '../../catalog/annotations.ts'
import type { CatalogEntry, Check } from '../../catalog/entry.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { pathIn } from '../file/load.ts'
import type { Job, PlaceEntry } from '../file/schema.ts'
import { type Guest, sourceText } from '../guests/guest.ts'
import type { GuestReport, RunReport } from '../report.ts'
import {
  type ArchivePlan,
  archivesOf,
  chainOf,
  makeFolders,
  missingOf,
  planArchive,
  sameArchive,
} from './archive-plan.ts'
import { backupTask, sealingOf } from './backup-task.ts'
import { type Due, type Found, lookForDue } from './due.ts'
import type { GuestPhase, GuestProgress } from './events.ts'
import { runHook } from './hooks.ts'
import { folderAt, isRequired } from './places.ts'
import { pruneGuest } from './prune-guest.ts'
import type { Rates } from './rates.ts'
import type { BackupTaskResult, ResultOf, Task, Telling } from './task.ts'
import type { StartTask } from './worker.ts'

/** What all guests of a run have in common. */
export interface RunContext {
  job: Job
  run: string
  /** Ends the run. */
  signal: AbortSignal
  now: () => number
  start: StartTask
  rates: Rates
  /** The places that can be written tonight. */
  places: readonly PlaceEntry[]
  /** Full archives, whatever the rhythm says. */
  full: boolean
  /** When the guests were due, if the names of the archives have that time: milliseconds since 1970. */
  due: number | undefined
  changed(guest: GuestRun): void
  note(level: 'info' | 'warning', text: string, guest?: string): void
  removed: RunReport['removed']
}

const DEFAULT_BOOT_MS = 300_000

/** The progress of a guest without a process that works for it. */
const NOTHING_RUNS = { snapshot: null, stats: null, latency: null }

export class GuestRun {
  readonly guest: Guest
  readonly progress: GuestProgress
  readonly report: GuestReport
  /** Not before this time, in milliseconds since 1970. */
  notBefore = 0
  readonly #context: RunContext
  /** Bytes of its drives, once they are known. */
  size: number | null = null
  #running: { cancel(reason: string): void } | null = null
  #canceled: string | null = null

  constructor(guest: Guest, context: RunContext) {
    this.guest = guest
    this.#context = context
    const common = { attempts: 0, began: null, reason: null, again: null } as const
    this.progress = { guest: guest.name, phase: 'waiting', ...common, ...NOTHING_RUNS }
    this.report = { guest: guest.name, outcome: 'skipped', attempts: 0, places: [], warnings: [] }
  }

  get isCanceled(): boolean {
    return this.#canceled !== null
  }

  /** Ends its backup. The guest is free within two seconds. */
  cancel(reason: string): void {
    this.#canceled ??= reason
    this.progress.reason = reason
    this.#running?.cancel(reason)
  }

  /** Backs it up once. Errors: those of the backup. */
  async attempt(): Promise<void> {
    const { job, signal, full, places, now, due } = this.#context
    this.#failIfCanceled()
    this.report.attempts = ++this.progress.attempts
    this.progress.began = new Date(now()).toISOString()
    this.phase('preparing')
    const keys = this.#keys()
    const warn = (text: string) => this.#warn(text)
    let time: number | undefined
    if (due !== undefined) {
      await makeFolders(this.guest, { places, warn })
      const look = await lookForDue(job, this.guest, places, { due, keys, warn, signal })
      if (look.state === 'done') return this.takeDone(look.found)
      if (look.state === 'some') return await this.#complete(look, keys)
      time = look.time
    }
    if (this.report.attempts === 1) await runHook(job, 'before', { about: this.#about(), signal })
    const plan = await planArchive(job, this.guest, { now: now(), places, keys, signal, warn, full, time, due })
    this.#context.note('info', `${plan.kind} archive: ${plan.reason}`, this.guest.name)
    const rate = this.guest.entry.rate ?? job.rate ?? null
    const task = backupTask(job, this.guest, plan, this.#context.rates.shareOf(rate))
    this.#failIfCanceled()
    const result = await this.#run(task, rate)
    this.#take(result, plan)
    await this.#recordChecks(result)
    if (result.damage !== undefined) {
      throw new VmapipeError(result.damage.code, `the archive was read back and is damaged: ${result.damage.message}`)
    }
    await this.#catchUp(plan, result, keys)
    this.report.outcome = 'done'
    await this.#prune(keys)
    await this.#afterwards('after')
  }

  /** The archive is there already: nothing is done. */
  takeDone(found: readonly Found[]): void {
    const { kind } = found[0].archive
    const places = found.map(({ archive }) => archive.place)
    Object.assign(this.report, { outcome: 'done', already: true, kind, places })
    this.progress.reason = 'its archive is there already'
  }

  /** Some required places have the archive: an earlier run has ended in the middle. The others get a copy. Errors: FAILED, ABORTED. */
  async #complete({ found, lacking }: Extract<Due, { state: 'some' }>, keys: Keyring | undefined): Promise<void> {
    const [source] = found.toSorted((a, b) => Number(isKnown(b)) - Number(isKnown(a)))
    const { archive, archives } = source
    this.#context.note('info', `'${archive.place}' is there already`, this.guest.name)
    this.report.kind = archive.kind
    this.report.places = found.map((one) => one.archive.place)
    const chain = isKnown(source) ? chainOf(archive, archives) : archive.kind === 'full' ? [archive] : null
    for (const entry of lacking) {
      try {
        await this.#copyChain(chain, entry, keys)
      } catch (error) {
        this.#failIfCanceled()
        if (isRequired(entry)) throw error
        this.#warn(`'${entry.place}' did not get the archive: ${asVmapipeError(error).text}`)
      }
    }
    this.report.outcome = 'done'
    await this.#prune(keys)
  }

  /** Boots it from its new archive. Returns why it did not come up; null if it did. Errors: ABORTED. */
  async boot(): Promise<string | null> {
    const { job } = this.#context
    const identities = (job.identity ?? []).map((path) => pathIn(job, path))
    const limit = job.check?.['boot-timeout'] ?? DEFAULT_BOOT_MS
    try {
      const task = { kind: 'boot', from: this.report.places[0], limit, identities, rate: null } as const
      const { passed, detail = '' } = await this.#run(task, null)
      this.report.booted = passed
      return passed ? null : detail
    } catch (error) {
      this.#failIfCanceled()
      // That it cannot be tried, as without QEMU, says nothing of the archive.
      this.#warn(`it was not booted from its archive: ${asVmapipeError(error).text}`)
      return null
    } finally {
      this.phase('done')
    }
  }

  /** It has failed, or was skipped or canceled, and is not tried again. */
  async end(outcome: 'failed' | 'skipped' | 'canceled', error: VmapipeError): Promise<void> {
    const { text, code, hint, message } = error
    const line = hint !== undefined && text.endsWith(`; ${hint}`) ? text.slice(0, -hint.length - 2) : text
    Object.assign(this.report, { outcome, code, reason: code === 'ABORTED' ? message : line, ...(hint && { hint }) })
    this.progress.reason = this.report.reason!
    if (outcome === 'failed') await this.#afterwards('failed')
    this.phase(outcome)
  }

  phase(phase: GuestPhase): void {
    this.progress.phase = phase
    this.#context.changed(this)
  }

  #failIfCanceled(): void {
    this.#context.signal.throwIfAborted()
    if (this.#canceled !== null) throw new VmapipeError('ABORTED', this.#canceled)
  }

  /** Runs a task in a process of its own. `own`: the limit of this guest in bytes a second. */
  async #run<T extends Task>(task: T, own: number | null): Promise<ResultOf<T>> {
    const { start, rates } = this.#context
    const running = start(task, (telling) => this.#hear(telling))
    this.#running = running
    rates.add(running, own)
    if (this.#canceled !== null) running.cancel(this.#canceled)
    try {
      return await running.ended
    } finally {
      rates.remove(running)
      this.#running = null
      Object.assign(this.progress, NOTHING_RUNS)
    }
  }

  #hear(telling: Telling): void {
    if (telling.type === 'progress') {
      const { snapshot, stats, latency } = telling
      Object.assign(this.progress, { snapshot, stats, latency })
      this.#context.changed(this)
    } else if (telling.type === 'phase') this.phase(telling.phase)
    else if (telling.type === 'note' && telling.level === 'warning') this.#warn(telling.text)
    else if (telling.type === 'note') this.#context.note('info', telling.text, this.guest.name)
  }

  #warn(text: string): void {
    this.report.warnings.push(text)
    this.#context.note('warning', text, this.guest.name)
  }

  #take(
    { kind, seconds, read, stored, size, longestWait, places, verified }: BackupTaskResult,
    plan: ArchivePlan,
  ): void {
    const checks = Object.values(verified)
    Object.assign(this.report, {
      ...{ kind, seconds, read, stored, places },
      ...(longestWait !== undefined && { longestWait }),
      ...(checks.length > 0 && { verified: checks.every(Boolean) }),
    })
    this.size = size
    if (kind === 'full' && plan.kind === 'incremental')
      this.#warn('the archive is a full one, as its parent cannot be used')
  }

  async #recordChecks({ verified, damage }: BackupTaskResult): Promise<void> {
    const at = new Date(this.#context.now()).toISOString()
    for (const [place, passed] of Object.entries(verified)) {
      const detail = passed ? 'read back after the backup' : (damage?.message ?? 'damaged').slice(0, 500)
      const check: Check = { kind: 'verify', at, passed, detail }
      await recordCheck(place, check).catch((error) =>
        this.#warn(`the check of '${place}' is not noted: ${error.message}`),
      )
    }
  }

  /** Copies to places that lack the archive: their chain was broken, or they failed tonight. What fails here is a warning. */
  async #catchUp(
    { targets, later }: ArchivePlan,
    { places, uuid }: BackupTaskResult,
    keys: Keyring | undefined,
  ): Promise<void> {
    const { signal } = this.#context
    const failed = targets.filter(
      ({ entry, to }) => !isRequired(entry) && !places.some((place) => sameArchive(place, to)),
    )
    for (const { entry } of failed) this.#warn(`'${entry.place}' did not get the archive`)
    for (const entry of later) {
      try {
        const warn = (text: string) => this.#warn(text)
        const from = await archivesOf(this.guest.name, targets[0].entry, { keys, signal, warn })
        const newest = from.find((archive) => archive.uuid === uuid)
        await this.#copyChain((newest && chainOf(newest, from)) ?? null, entry, keys)
      } catch (error) {
        this.#failIfCanceled()
        this.#warn(`'${entry.place}' did not get the archive: ${asVmapipeError(error).text}`)
      }
    }
  }

  /** Copies those archives of a chain that the place lacks, the oldest first. Errors: FAILED, ABORTED. */
  async #copyChain(chain: readonly CatalogEntry[] | null, entry: PlaceEntry, keys: Keyring | undefined): Promise<void> {
    const { job, signal } = this.#context
    if (chain === null) throw new VmapipeError('FAILED', 'the chain of the archive cannot be read')
    const warn = (text: string) => this.#warn(text)
    const missing = missingOf(chain, await archivesOf(this.guest.name, entry, { keys, signal, warn })).reverse()
    const encrypt = sealingOf(job, entry)
    const copies = missing.map(({ place, name }) => {
      const sealed = encrypt !== undefined && !name.endsWith('.age') ? '.age' : ''
      return { from: place, to: `${folderAt(entry, this.guest.name)}${name}${sealed}` }
    })
    this.#context.note(
      'info',
      `'${entry.place}' lacks ${copies.length} archives of the chain: they are copied`,
      this.guest.name,
    )
    const identities = (job.identity ?? []).map((path) => pathIn(job, path))
    const { places: copied } = await this.#run({ kind: 'copy', copies, encrypt, identities, rate: null }, null)
    if (copied.length > 0) this.report.places.push(copied.at(-1)!)
  }

  /** Removes what retention does not keep: only after a backup that succeeded. */
  async #prune(keys: Keyring | undefined): Promise<void> {
    const { signal, places, removed, now } = this.#context
    const warn = (text: string) => this.#warn(text)
    removed.push(...(await pruneGuest(this.guest.name, places, { keys, now: now(), signal, warn })))
  }

  /** A hook whose failure changes nothing any more. */
  async #afterwards(phase: 'after' | 'failed'): Promise<void> {
    const { job, signal } = this.#context
    await runHook(job, phase, { about: this.#about(), signal }).catch((error) => {
      if (!signal.aborted) this.#warn(asVmapipeError(error).text)
    })
  }

  #about(): Record<string, string | number | undefined> {
    const { outcome, reason, kind, places, seconds, read, stored, attempts } = this.report
    const ended =
      this.progress.phase === 'preparing' && this.progress.attempts <= 1 && reason === undefined && places.length === 0
    return {
      guest: this.guest.name,
      source: sourceText(this.guest.source),
      run: this.#context.run,
      attempts,
      ...(!ended && { outcome, reason, kind, archive: places[0], archives: places.join('\n'), read, stored }),
      ...(seconds !== undefined && { seconds: seconds.toFixed(1) }),
    }
  }

  #keys(): Keyring | undefined {
    const { job } = this.#context
    return job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
  }
}

function isKnown({ archive }: Found): boolean {
  return archive.unreadable === undefined
}
