/**
 * Who did what: a line of JSON for each action and sign-in in audit.jsonl of the page's state. It is only appended to. A file that has become
 * large is renamed to audit.1.jsonl, and so on; the oldest is removed. It has no secrets, and nothing in it can move a cursor or break a line.
 */

import { appendFile, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { describe, printable } from '../../core/errors.ts'
import { ownFolder } from '../../jobs/state/folders.ts'
import type { AuditRow } from '../api.ts'

/** Bytes of a file, and how many older ones are kept. */
const MOST_BYTES = 8 * 2 ** 20
const OLDER = 4
/** Characters of a field. */
const LONGEST = 1000
/**
 * Lines about those who are not signed in, and about what one user was refused or has failed at: so many at once, and one more each so many
 * milliseconds. They must not drive out all others.
 */
const VAIN_LINES = 30
const VAIN_MS = 6000
/** Users whose lines are counted. */
const MOST_USERS = 2000
/** Milliseconds. If the clock is set back by more, lines have the new time, though it is that of earlier lines. */
const STEP_MS = 60_000
/** Rows of one answer. */
export const MOST_ROWS = 500

export interface AuditOptions {
  folder: string
  mostBytes?: number
  now?: () => number
  /** Told if the log cannot be written: what was asked for is done nevertheless. */
  warn?: (message: string) => void
}

export class AuditLog {
  readonly #folder: string
  readonly #mostBytes: number
  readonly #now: () => number
  readonly #warn: (message: string) => void
  #last: Promise<void> = Promise.resolve()
  #lastAt = 0
  readonly #vain = new LRUCache<string, { left: number; at: number; dropped: number }>({ max: MOST_USERS })
  #isBroken = false

  constructor({ folder, mostBytes = MOST_BYTES, now = Date.now, warn = () => {} }: AuditOptions) {
    this.#folder = folder
    this.#mostBytes = mostBytes
    this.#now = now
    this.#warn = warn
  }

  /** Whether the last line could not be written. */
  get isBroken(): boolean {
    return this.#isBroken
  }

  /** Resolves when the line is in the file, or a warning was given. */
  add(row: Omit<AuditRow, 'at'>): Promise<void> {
    const dropped = row.who === null || row.outcome !== 'done' ? this.#countVain(row.who) : 0
    if (dropped === null) return Promise.resolve()
    // Each has a time of its own, so that a list can go on behind any of them.
    const now = this.#now()
    this.#lastAt = this.#lastAt - now > STEP_MS ? now : Math.max(now, this.#lastAt + 1)
    const line = JSON.stringify({
      at: new Date(this.#lastAt).toISOString(),
      who: row.who === null ? null : harmless(row.who),
      from: harmless(row.from),
      what: harmless(row.what),
      detail: harmless(row.detail) + (dropped > 0 ? ` (${dropped} lines before it were left out)` : ''),
      outcome: row.outcome,
    } satisfies AuditRow)
    this.#last = this.#last.then(() => this.#write(`${line}\n`))
    return this.#last
  }

  /**
   * The newest first: those that were written before the line of the time `before`. If no line has it, those of an earlier time. Where a clock
   * was set back, the times of lines do not follow each other.
   */
  async read({ before, most = 100 }: { before?: string; most?: number } = {}): Promise<AuditRow[]> {
    await this.#last
    const behind: AuditRow[] = []
    const earlier: AuditRow[] = []
    const wanted = Math.min(most, MOST_ROWS)
    let isBehind = before === undefined
    for (let number = 0; number <= OLDER && behind.length < wanted; number++) {
      const text = await readFile(this.#path(number), 'utf8').catch(() => '')
      for (const line of text.split('\n').reverse()) {
        if (behind.length >= wanted) break
        const row = parsed(line)
        if (row === null) continue
        if (isBehind) behind.push(row)
        else if (row.at === before) isBehind = true
        else if (row.at < before! && earlier.length < wanted) earlier.push(row)
      }
    }
    return isBehind ? behind : earlier
  }

  /** How many lines were left out before this one; null if it is left out, too. */
  #countVain(who: string | null): number | null {
    // No user has an empty name.
    const key = who ?? ''
    const known = this.#vain.get(key) ?? { left: VAIN_LINES, at: 0, dropped: 0 }
    const now = this.#now()
    // A clock that was set back tells nothing of the time between.
    const left = now < known.at ? VAIN_LINES : Math.min(VAIN_LINES, known.left + (now - known.at) / VAIN_MS)
    if (left < 1) {
      this.#vain.set(key, { ...known, dropped: known.dropped + 1 })
      return null
    }
    this.#vain.set(key, { left: left - 1, at: now, dropped: 0 })
    return known.dropped
  }

  async #write(line: string): Promise<void> {
    try {
      await ownFolder(this.#folder)
      const size = await stat(this.#path(0)).then(
        (stats) => stats.size,
        () => 0,
      )
      if (size > 0 && size + line.length > this.#mostBytes) await this.#rotate()
      await appendFile(this.#path(0), line, { mode: 0o600 })
      this.#isBroken = false
    } catch (error) {
      if (!this.#isBroken) this.#warn(`the audit log cannot be written: ${describe(error as Error)}`)
      this.#isBroken = true
    }
  }

  async #rotate(): Promise<void> {
    await rm(this.#path(OLDER), { force: true })
    for (let number = OLDER - 1; number >= 0; number--)
      await rename(this.#path(number), this.#path(number + 1)).catch((error) => {
        if (error.code !== 'ENOENT') throw error
      })
  }

  #path(number: number): string {
    return join(this.#folder, number === 0 ? 'audit.jsonl' : `audit.${number}.jsonl`)
  }
}

/** In one line, without what moves a cursor or turns the direction of text, and not too long. */
function harmless(text: string): string {
  const shown = printable(text.slice(0, LONGEST))
  return text.length > LONGEST ? `${shown}…` : shown
}

function parsed(line: string): AuditRow | null {
  try {
    const row = JSON.parse(line)
    return typeof row?.at === 'string' && typeof row.what === 'string' ? row : null
  } catch {
    // A line that a crash has cut.
    return null
  }
}
