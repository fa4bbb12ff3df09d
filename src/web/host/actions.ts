/** What people do on the page of a host. Each action is a command of ours, which they could have typed. */

import type { Socket } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import { askAt } from '../../jobs/run/control.ts'
import type { Abilities, Action, ArchiveContent, PruneView, RestoreForm } from '../house.ts'
import { shellText, startCommand } from './command.ts'
import type { HostState } from './host-state.ts'
import { onLines } from './lines.ts'
import { prunePlanOf } from './prunes.ts'
import { restoreWords } from './restores.ts'
import { rowId } from './runs.ts'
import { failureOf, PROGRESS, runCommand } from './tasks.ts'

/** The longest that a run may take to begin. */
const BEGIN_MS = 20_000
/** One word of a command has at most 128 KiB. */
const MOST_NOTE = 16_000

export class Actions {
  readonly abilities: Abilities
  readonly #state: HostState
  readonly #restoreTo: readonly string[]
  readonly #content: (host: string, archive: string) => Promise<ArchiveContent>

  /** `restoreTo`: folders that may be restored to. */
  constructor(
    state: HostState,
    restoreTo: readonly string[],
    content: (host: string, archive: string) => Promise<ArchiveContent>,
  ) {
    this.#state = state
    this.#restoreTo = restoreTo
    this.#content = content
    this.abilities = abilitiesOf(restoreTo)
  }

  async prunePlan(host: string, job: string, guest?: string): Promise<PruneView> {
    this.#state.check(host)
    await this.#state.files.fresh()
    return prunePlanOf(this.#state.jobs.named(job).job, guest, (place) => this.#state.archives.idOf(place))
  }

  async restoreCommand(form: RestoreForm): Promise<string> {
    return shellText(['vmapipe', ...(await this.#restoreWords(form, null))])
  }

  async act(action: Action, by: string): Promise<string | null> {
    if (!this.abilities.actions.includes(action.do))
      throw new VmapipeError('USAGE', this.abilities.why[action.do] ?? 'a single host cannot do that')
    if ('host' in action) this.#state.check(action.host)
    switch (action.do) {
      case 'start':
        return this.#start(action.job, action.guests, action.full ?? false)
      case 'cancel':
        return this.#cancel(action.id)
      case 'verify':
      case 'boot': {
        const { entry, words } = await this.#reading(action.archive)
        const how = action.do === 'boot' ? '--boot' : '--record'
        return this.#state.tasks.begin({
          ...{ what: action.do, subject: entry.name, by },
          words: ['verify', how, PROGRESS, ...words],
        })
      }
      case 'protect': {
        const { entry } = await this.#state.archive(action.archive)
        return this.#noted(['protect', ...(action.on ? [] : ['--off']), '--', entry.place])
      }
      case 'note': {
        if (action.was !== undefined) await this.#state.listed.fresh()
        const { entry } = await this.#state.archive(action.archive)
        if (action.was !== undefined && action.was !== (entry.notes ?? ''))
          throw new VmapipeError('USAGE', 'somebody has changed the note since it was shown', {
            hint: 'look at it, and write yours again',
          })
        const text = action.text.trimEnd()
        if (text.length > MOST_NOTE)
          throw new VmapipeError('USAGE', `the note has ${text.length} characters`, { hint: `at most ${MOST_NOTE}` })
        return this.#noted(text === '' ? ['note', '--remove', '--', entry.place] : ['note', '--', entry.place, text])
      }
      case 'prune': {
        const { token } = await this.prunePlan(action.host, action.job, action.guest)
        if (token !== action.token)
          throw new VmapipeError('USAGE', 'the archives have changed since the plan was shown: nothing was removed', {
            hint: 'look at the new plan',
          })
        const only = action.guest === undefined ? [] : [`--guest=${action.guest}`]
        const { file } = this.#state.jobs.named(action.job)
        const subject = action.guest === undefined ? action.job : `${action.job}: ${action.guest}`
        return this.#state.tasks.begin({
          what: 'prune',
          subject,
          by,
          words: ['prune', `--plan=${token}`, ...only, '--', file],
        })
      }
      case 'restore': {
        this.#state.check(action.form.host)
        const words = await this.#restoreWords(action.form, this.#restoreTo)
        const { entry } = await this.#state.archive(action.form.archive)
        const shown = [words[0], PROGRESS, ...words.slice(1)]
        return this.#state.tasks.begin({ what: 'restore', subject: entry.name, by, words: shown })
      }
      default:
        await this.#state.files.fresh()
        await this.#state.lookAtArchives(true)
        await this.#state.found.fresh()
        void this.#state.open.fresh().catch(() => {})
        return null
    }
  }

  async #reading(id: string) {
    const { entry, identity } = await this.#state.archive(id)
    return { entry, words: [...identity.map((file) => `--identity=${file}`), '--', entry.place] }
  }

  async #restoreWords(form: RestoreForm, allowed: readonly string[] | null): Promise<string[]> {
    this.#state.check(form.host)
    const content = await this.#content(form.host, form.archive)
    return restoreWords(form, await this.#state.archive(form.archive), { content, allowed })
  }

  /** Begins a run, which goes on if this page ends. Resolves with its id as soon as it is there. Errors: what the command said. */
  async #start(name: string, guests: readonly string[] | undefined, isFull: boolean): Promise<string | null> {
    await this.#state.files.fresh()
    const { file } = this.#state.jobs.named(name)
    const past = new Set(this.#state.histories.runs(name).map(({ row }) => row.run))
    const only = (guests ?? []).map((guest) => `--guest=${guest}`)
    const words = ['job', 'run', '--now', '--progress=plain', ...(isFull ? ['--full'] : []), ...only, '--', file]
    const child = startCommand(this.#state.command, words, { isTied: false })
    const said: string[] = []
    onLines(child.stderr!, (line) => {
      said.push(line)
      if (said.length > 20) said.shift()
    })
    child.stdout!.resume()
    // It goes on without us, and does not keep us here.
    child.unref()
    for (const pipe of [child.stdout, child.stderr]) (pipe as Socket).unref()
    let code: number | null | undefined
    child.once('close', (exit) => {
      code = exit
    })
    child.once('error', (error) => {
      said.push(error.message)
      code = 1
    })
    for (const until = performance.now() + BEGIN_MS; performance.now() < until; await sleep(100)) {
      // Somebody else may have begun a run of this job at the same moment: ours is that of our process.
      const begun = (await this.#state.runs.fresh()).find(({ status }) => status.pid === child.pid)
      if (begun !== undefined) {
        this.#state.watchers.tell('now')
        return begun.status.run
      }
      if (code === undefined) continue
      // It may have ended before anybody looked.
      await this.#state.files.fresh()
      const ended = this.#state.histories.runs(name).find(({ row }) => !past.has(row.run))
      if (ended !== undefined) return ended.row.run
      throw failureOf(said, code)
    }
    return null
  }

  /** `id`: of a task, of a run, or of a guest in a run. */
  async #cancel(id: string): Promise<null> {
    if (this.#state.tasks.cancel(id)) return null
    for (const { socket, status } of await this.#state.runs.fresh()) {
      const { job, run, guests } = status
      const guest = guests.find((one) => rowId(job, run, one.guest) === id)?.guest
      if (guest === undefined && id !== run && id !== rowId(job, run, '')) continue
      await askAt(socket, job, { ask: 'cancel', ...(guest !== undefined && { guest }) })
      this.#state.runs.spoil()
      this.#state.watchers.tell('now')
      return null
    }
    throw new VmapipeError('USAGE', 'it has ended already')
  }

  /** Runs a command that changes what is noted of an archive. */
  async #noted(words: readonly string[]): Promise<null> {
    await runCommand(this.#state.command, words, { signal: AbortSignal.timeout(60_000) })
    await this.#state.listed.fresh()
    return null
  }
}

function abilitiesOf(restoreTo: readonly string[]): Abilities {
  const restores = restoreTo.length > 0
  return {
    actions: [
      ...(['start', 'cancel', 'verify', 'boot', 'protect', 'note', 'prune'] as const),
      ...(restores ? (['restore'] as const) : []),
      'rescan',
    ],
    hosts: false,
    download: true,
    ...(restores && { restoreTo: resolve(restoreTo[0]) }),
    why: {
      ...(!restores && {
        restore:
          'this page was not told where it may restore to: run the command on the host, or start vmapipe web with --restore-to FOLDER',
      }),
      drain: 'there is one host alone',
    },
  }
}
