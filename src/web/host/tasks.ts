/** What somebody has begun on the page, other than a run: each task is a child of our own command line. A few run at once, others wait. */

import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { withoutKeyFolders } from '../../codecs/age/shown-keys.ts'
import { VmapipeError } from '../../core/errors.ts'
import type { TaskRow } from '../house.ts'
import { type CommandLine, shellText, startCommand } from './command.ts'
import { onLines } from './lines.ts'

/** What is to be done. */
export interface TaskOrder {
  what: TaskRow['what']
  subject: string
  by: string
  /** Of our command line. */
  words: readonly string[]
}

interface Task {
  row: TaskRow
  words: readonly string[]
  child: ChildProcess | null
  isCanceled: boolean
}

/** How a task tells its progress; people who copy its command want it for people. */
export const PROGRESS = '--progress=json'

const IDENTITY = '--identity='

/** Tasks that run at once: each reads an archive as fast as it can. */
const AT_ONCE = 2
const MOST_WAITING = 50
/** Tasks that have ended and are shown. */
const MOST_ENDED = 50
const MOST_LINES = 40
const LONGEST_LINE = 500
/** Milliseconds from SIGINT to SIGKILL. A command ends within two seconds. */
const KILL_MS = 4000

export class Tasks {
  readonly #command: CommandLine
  readonly #host: string
  readonly #changed: (ended: TaskRow | null) => void
  readonly #tasks = new Map<string, Task>()

  /** `changed` is called whenever a task has, with the task if it has ended. */
  constructor(command: CommandLine, host: string, changed: (ended: TaskRow | null) => void) {
    this.#command = command
    this.#host = host
    this.#changed = changed
  }

  /** The newest first. */
  get rows(): TaskRow[] {
    return [...this.#tasks.values()].map(({ row }) => ({ ...row, lines: [...row.lines] })).reverse()
  }

  /** Returns the id of the task. Errors: USAGE if too many wait, or if the very same runs or waits already. */
  begin({ what, subject, by, words }: TaskOrder): string {
    const same = JSON.stringify(words)
    const already = [...this.#tasks.values()].find(
      (task) => task.row.ended === null && JSON.stringify(task.words) === same,
    )
    if (already !== undefined)
      throw new VmapipeError('USAGE', `${already.row.by} has begun the same already: ${what} of '${subject}'`, {
        hint: 'the view Now shows how far it is',
      })
    const waiting = [...this.#tasks.values()].filter(({ row }) => row.state === 'waiting')
    if (waiting.length >= MOST_WAITING)
      throw new VmapipeError('USAGE', `${MOST_WAITING} tasks wait already`, { hint: 'try it again later' })
    const id = `task-${randomBytes(9).toString('base64url')}`
    const row: TaskRow = {
      ...{ id, host: this.#host, what, subject, by, state: 'waiting', began: new Date().toISOString(), ended: null },
      ...{ percent: null, lines: [commandLine(words)] },
    }
    this.#tasks.set(id, { row, words, child: null, isCanceled: false })
    this.#next()
    this.#changed(null)
    return id
  }

  /** False if there is no such task that has not ended. */
  cancel(id: string): boolean {
    const task = this.#tasks.get(id)
    if (task === undefined || task.row.ended !== null) return false
    task.isCanceled = true
    if (task.child === null) this.#end(task, 'canceled')
    else endCommand(task.child)
    return true
  }

  /** Ends all of them. */
  async close(): Promise<void> {
    const children = [...this.#tasks.values()].flatMap(({ child }) => child ?? [])
    const closed = children.map((child) => once(child, 'close').catch(() => {}))
    for (const id of this.#tasks.keys()) this.cancel(id)
    await Promise.all(closed)
  }

  #next(): void {
    const all = [...this.#tasks.values()]
    let running = all.filter(({ row }) => row.state === 'running').length
    for (const task of all) {
      if (task.row.state !== 'waiting' || running >= AT_ONCE) continue
      running++
      this.#start(task)
    }
  }

  #start(task: Task): void {
    const { row, words } = task
    Object.assign(row, { state: 'running', began: new Date().toISOString() })
    let child: ChildProcess
    try {
      child = startCommand(this.#command, words)
    } catch (error) {
      this.#say(task, (error as Error).message)
      this.#end(task, 'failed')
      return
    }
    task.child = child
    onLines(child.stderr!, (line) => this.#heard(task, line))
    onLines(child.stdout!, (line) => this.#say(task, line))
    child.on('error', (error) => this.#say(task, `it cannot be started: ${error.message}`))
    child.on('close', (code) => {
      task.child = null
      this.#end(task, task.isCanceled ? 'canceled' : code === 0 ? 'done' : 'failed')
    })
  }

  #end(task: Task, state: 'done' | 'failed' | 'canceled'): void {
    Object.assign(task.row, { state, ended: new Date().toISOString(), ...(state === 'done' && { percent: 100 }) })
    const ended = [...this.#tasks.values()].filter(({ row }) => row.ended !== null)
    for (const { row } of ended.slice(0, Math.max(0, ended.length - MOST_ENDED))) this.#tasks.delete(row.id)
    this.#next()
    this.#changed(task.row)
  }

  /** A line of standard error: progress as JSON, or text. */
  #heard(task: Task, line: string): void {
    const told = parsed(line)
    if (told === null) {
      this.#say(task, line)
      return
    }
    if (typeof told.percent === 'number') task.row.percent = told.percent
    if (told.type === 'note' && typeof told.text === 'string')
      this.#say(task, told.level === 'warning' ? `warning: ${told.text}` : told.text)
    if (told.type === 'error' && typeof told.message === 'string')
      this.#say(task, typeof told.hint === 'string' ? `${told.message}; ${told.hint}` : told.message)
    this.#changed(null)
  }

  #say({ row, words }: Task, line: string): void {
    if (line.trim() === '') return
    row.lines.push(withoutKeyFolders(line, keyFilesIn(words)).slice(0, LONGEST_LINE))
    // The command stays the first line.
    if (row.lines.length > MOST_LINES) row.lines.splice(1, 1)
    this.#changed(null)
  }
}

/** As it was begun; of files of keys it has the names alone, as it is shown to all who may look. */
function commandLine(words: readonly string[]): string {
  const files = keyFilesIn(words)
  const shown = words.filter((word) => word !== PROGRESS).map((word) => withoutKeyFolders(word, files))
  return `$ ${shellText(['vmapipe', ...shown])}`
}

function keyFilesIn(words: readonly string[]): string[] {
  return words.flatMap((word) => (word.startsWith(IDENTITY) ? [word.slice(IDENTITY.length)] : []))
}

/** Asks the command to end in good order, and kills it if it does not. */
export function endCommand(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGINT')
  const killer = setTimeout(() => child.kill('SIGKILL'), KILL_MS)
  child.once('exit', () => clearTimeout(killer))
}

function parsed(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return null
  }
}

/** Runs a command that takes a moment. Resolves with its output. Errors: USAGE or FAILED, with what it said. */
export async function runCommand(
  command: CommandLine,
  words: readonly string[],
  { signal, most = 1 << 20 }: { signal?: AbortSignal; most?: number } = {},
): Promise<string> {
  const child = startCommand(command, words)
  const end = () => endCommand(child)
  signal?.addEventListener('abort', end, { once: true })
  if (signal?.aborted) end()
  const out: Buffer[] = []
  let length = 0
  const said: string[] = []
  child.stdout!.on('data', (data: Buffer) => {
    length += data.length
    if (length <= most) out.push(data)
    else end()
  })
  onLines(child.stderr!, (line) => {
    said.push(line.slice(0, LONGEST_LINE))
    if (said.length > MOST_LINES) said.shift()
  })
  try {
    const [code] = await once(child, 'close')
    if (length > most) throw new VmapipeError('FAILED', 'there is too much to be shown')
    if (signal?.aborted) throw new VmapipeError('ABORTED', 'aborted')
    if (code !== 0) throw failureOf(said, code)
    return Buffer.concat(out).toString()
  } finally {
    signal?.removeEventListener('abort', end)
  }
}

/** The error that a command has ended with, by what it said. */
export function failureOf(said: readonly string[], code: number | null): VmapipeError {
  const line = said.findLast((text) => text.startsWith('vmapipe: ')) ?? said.at(-1)
  const text = line?.replace(/^vmapipe: /, '') ?? `the command has ended with exit code ${code}`
  return new VmapipeError(code === 2 ? 'USAGE' : 'FAILED', text)
}
