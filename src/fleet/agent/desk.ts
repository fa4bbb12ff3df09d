/** What an agent is at: the works of the planner, and what it has begun by its own schedule. Each is done once, however often it is given. */

import { randomUUID } from 'node:crypto'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import type { RunningWork } from '../messages/beat.ts'
import type { AgentEvent } from '../messages/events.ts'
import { type Work, work as workForm, workId } from '../messages/work.ts'
import { doPrune, doVerify } from './do-archives.ts'
import { doRun } from './do-run.ts'
import { type DeskOptions, type Item, isStopped, STOPPED } from './item.ts'
import { Turns } from './turns.ts'

/** Works that are no backups: reading archives and removing them. */
const OTHERS_AT_ONCE = 2
/** More than a planner in its right mind gives. */
const MOST_ITEMS = 500
const MOST_ENDED = 2000
const LONGEST_TEXT = 4000

export class Desk {
  readonly #options: DeskOptions
  readonly #items = new Map<string, { item: Item; end: AbortController; ended: Promise<void> }>()
  /** What has ended, by work and attempt, with the event that tells so. */
  readonly #ended = new Map<string, AgentEvent>()
  readonly #begun = new Set<string>()
  readonly #guests: Turns
  readonly #others = new Turns(OTHERS_AT_ONCE)

  constructor(options: DeskOptions) {
    this.#options = options
    this.#guests = new Turns(options.parallel)
  }

  /** Guests that could be begun now. */
  get free(): number {
    const backups = [...this.#items.values()].filter(({ item }) => item.due !== null).length
    return Math.max(0, this.#options.parallel - backups)
  }

  /** For the heartbeat. */
  running(closer: boolean): RunningWork[] {
    return [...this.#items.values()].map(({ item: { work: id, job, guest, since, places, progress } }) => ({
      ...{ id, job, guest, since, places: places.slice(0, 50) },
      progress: closer && progress !== null ? { ...progress } : null,
    }))
  }

  isRunning(job: string, due: number): boolean {
    return [...this.#items.values()].some(({ item }) => item.job === job && item.due === due)
  }

  /** Whether it runs, or this agent has begun it by itself. */
  hasBegun(job: string, guest: string, due: number): boolean {
    if (this.#begun.has(JSON.stringify([job, guest, due]))) return true
    return [...this.#items.values()].some(({ item }) => item.job === job && item.guest === guest && item.due === due)
  }

  /** Begins a guest by the host's own schedule. */
  begin(job: string, guest: string, due: number): void {
    this.#begun.add(JSON.stringify([job, guest, due]))
    this.#options.log('info', `${printable(job)}: ${printable(guest)} is backed up by this host's own schedule`)
    const id = randomUUID()
    this.#do(id, id, { work: null, job, guest, due }, this.#guests, async (item) => {
      await doRun(item, { job, guest, due, full: false, now: false }, this.#options)
    })
  }

  /** Takes works as the planner has sent them. What is not in the list of works is refused. */
  take(works: readonly unknown[]): void {
    for (const one of works) {
      const read = workForm.safeParse(one)
      if (read.success) this.#take(read.data)
      else this.#refuseUnread(one)
    }
  }

  #refuseUnread(one: unknown): void {
    const { id, kind } = (one ?? {}) as { id?: unknown; kind?: unknown }
    const what = typeof kind === 'string' ? `a work of the kind '${printable(kind.slice(0, 50))}'` : 'a work of no kind'
    this.#options.log('warning', `${what} was refused: it is not in the list of what a planner may ask for`)
    if (!workId.safeParse(id).success) return
    this.#finish(id as string, `refused-${id}`, 'refused', 'it is not in the list of what this agent does')
  }

  #take(work: Work): void {
    const key = `${work.id}#${work.attempt}`
    const before = this.#ended.get(key)
    // It may not have heard the end of it.
    if (before !== undefined) this.#options.tell(before)
    else if (this.#items.has(work.id)) return
    // It was given again because the planner has not heard of its end, which will be told.
    else if (this.#options.hasEndOf(work.id))
      this.#options.log(
        'info',
        `the work ${work.id} has ended, which the planner does not know yet: it is not done again`,
      )
    else if (this.#items.size >= MOST_ITEMS)
      this.#finish(work.id, key, 'refused', `more than ${MOST_ITEMS} works at once`)
    else if (work.kind === 'run') this.#takeRun(work, key)
    else if (work.kind === 'cancel') {
      const isThere = this.cancel(work.work, work.reason)
      this.#finish(work.id, key, 'done', isThere ? `${work.work} is ended` : `${work.work} does not run here`)
    } else if (work.kind === 'verify')
      this.#takeOther(work, key, work.job, null, (item) => doVerify(item, work, this.#options))
    else if (work.kind === 'prune')
      this.#takeOther(work, key, work.job, work.guest ?? null, (item) => doPrune(item, work, this.#options))
    else
      this.#takeOther(work, key, 'report', null, async ({ signal }) => {
        await this.#options.report(work.archives, signal)
        return { outcome: 'done', text: 'the inventory was sent' }
      })
  }

  #takeRun(work: Work & { kind: 'run' }, key: string): void {
    const { id, job, guest, full = false, now = false } = work
    const due = Date.parse(work.due)
    this.#options.log('info', `${job}: the planner gives ${printable(guest)}, which was due at ${work.due}`)
    this.#do(id, key, { work: id, job, guest, due }, this.#guests, async (item) => {
      const event = await doRun(item, { job, guest, due, full, now }, this.#options, key)
      if (event !== null) this.#remember(key, event)
    })
  }

  #takeOther(
    work: Work,
    key: string,
    job: string,
    guest: string | null,
    act: (item: Item) => Promise<{ outcome: 'done' | 'failed' | 'refused'; text: string }>,
  ): void {
    this.#options.log('info', `${job}: the planner asks for ${work.kind}`)
    this.#do(work.id, key, { work: work.id, job, guest, due: null }, this.#others, async (item) => {
      const { outcome, text } = await act(item)
      this.#finish(work.id, key, outcome, text)
    })
  }

  /** `id`: of the item; `key`: of what its end is remembered by. */
  #do(
    id: string,
    key: string,
    about: Pick<Item, 'work' | 'job' | 'guest' | 'due'>,
    turns: Turns,
    act: (item: Item) => Promise<void>,
  ): void {
    const end = new AbortController()
    const { signal } = end
    const item: Item = { ...about, since: new Date().toISOString(), places: [], progress: null, signal }
    const ended = turns
      .in(signal, () => act(item))
      .catch((error) => {
        if (isStopped(signal)) return
        const { code, message, line } = asVmapipeError(error)
        const isRefused = code === 'USAGE' || code === 'CONFIG'
        const outcome = signal.aborted ? 'canceled' : isRefused ? 'refused' : 'failed'
        if (about.work !== null) this.#finish(about.work, key, outcome, signal.aborted ? message : line)
        else this.#options.log('warning', `${about.job}: ${line}`)
      })
      .finally(() => {
        this.#items.delete(id)
        if (about.due !== null) this.#options.nights.touch(about.job, about.due)
        this.#options.changed()
      })
    this.#items.set(id, { item, end, ended })
    if (about.due !== null) this.#options.nights.touch(about.job, about.due)
  }

  #finish(work: string, key: string, outcome: 'done' | 'failed' | 'refused' | 'canceled', text: string): void {
    const line = text.slice(0, LONGEST_TEXT)
    const at = new Date().toISOString()
    const event: AgentEvent = { id: `finished-${key}`.slice(0, 200), at, event: 'finished', work, outcome, text: line }
    if (outcome !== 'done') this.#options.log('warning', `the work ${work} was ${outcome}: ${printable(line)}`)
    this.#remember(key, event)
    this.#options.tell(event)
  }

  #remember(key: string, event: AgentEvent): void {
    this.#ended.set(key, event)
    for (const old of this.#ended.keys()) {
      if (this.#ended.size <= MOST_ENDED) break
      this.#ended.delete(old)
    }
  }

  /** Ends a work; its guest is free within two seconds. False if it does not run. */
  cancel(work: string, reason: string): boolean {
    const found = this.#items.get(work)
    found?.end.abort(new VmapipeError('ABORTED', printable(reason)))
    return found !== undefined
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    for (const { end } of this.#items.values()) end.abort(new VmapipeError('ABORTED', STOPPED))
    await Promise.all([...this.#items.values()].map(({ ended }) => ended))
  }
}
