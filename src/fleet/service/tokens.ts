/** Tokens, kept in memory as hashes: agents show theirs with each message, also while the database is away. */

import { VmapipeError } from '../../core/errors.ts'
import type { TokenRow, TokenSide } from '../fleet.ts'
import { hostName } from '../messages/hello.ts'
import { isToken, type KnownToken, makeToken, partsOf, readTokens, revokeToken, writeUsed } from '../store/tokens.ts'
import type { Parts } from './parts.ts'

/** So often it is written when tokens were last used. Agents use theirs all the time, so each second would be a transaction of a hundred rows. */
const USED_MS = 60_000

export class Tokens implements TokenSide {
  readonly #parts: Pick<Parts, 'database' | 'turn' | 'clock' | 'changes' | 'state'>
  #known = new Map<string, KnownToken>()
  readonly #used = new Map<string, string>()
  #usedWritten = Number.NEGATIVE_INFINITY

  constructor(parts: Pick<Parts, 'database' | 'turn' | 'clock' | 'changes' | 'state'>) {
    this.#parts = parts
  }

  async load(): Promise<void> {
    this.#known = new Map((await readTokens(this.#parts.database)).map((token) => [token.id, token]))
  }

  async make({
    name,
    kind,
    guests = [],
  }: {
    name: string
    kind: TokenRow['kind']
    guests?: string[]
  }): Promise<{ id: string; text: string }> {
    if (!hostName.safeParse(name).success)
      throw new VmapipeError('USAGE', 'the name of a token has letters, digits, dots, dashes and underscores')
    const now = new Date(this.#parts.clock.now())
    const made = await this.#parts.turn.transaction((session) => makeToken(session, { name, kind, guests }, now))
    await this.load()
    // A host that has never come is listed by its token.
    this.#parts.changes.tell('hosts')
    return made
  }

  async list(): Promise<TokenRow[]> {
    return [...this.#known.values()].map(({ hash: _, ...row }) => ({
      ...row,
      used: this.#used.get(row.id) ?? row.used,
    }))
  }

  async revoke(id: string): Promise<void> {
    const now = new Date(this.#parts.clock.now())
    if (!(await this.#parts.turn.transaction((session) => revokeToken(session, id, now))))
      throw new VmapipeError('USAGE', 'there is no such token')
    const token = this.#known.get(id)
    if (token !== undefined) token.revoked ??= now.toISOString()
    // A poll that waits would be given works. An agent with another token begins a new one.
    if (token?.kind === 'agent') this.#parts.state.hosts.get(token.name)?.endPoll?.()
    this.#parts.changes.tell('hosts')
  }

  async check(text: string): Promise<TokenRow | null> {
    const { id, secret } = partsOf(text)
    const token = this.#known.get(id)
    if (!isToken(token, secret) || token!.revoked !== null) return null
    this.#used.set(id, new Date(this.#parts.clock.now()).toISOString())
    const { hash: _, ...row } = token!
    return row
  }

  /** The patterns of guests that a host may claim; none for all. */
  patternsOf(host: string): string[] {
    const own = [...this.#known.values()].filter(
      ({ kind, name, revoked }) => kind === 'agent' && name === host && revoked === null,
    )
    if (own.length === 0 || own.some(({ guests }) => guests.length === 0)) return []
    return own.flatMap(({ guests }) => guests)
  }

  /** Hosts that have a token and may never have come. */
  hosts(): string[] {
    return [...this.#known.values()]
      .filter(({ kind, revoked }) => kind === 'agent' && revoked === null)
      .map(({ name }) => name)
  }

  /** Writes now and then when tokens were last used; `isLast`: whatever was not written yet. */
  async writeUsed(isLast = false): Promise<void> {
    if (this.#used.size === 0 || this.#parts.database.isAway) return
    const now = this.#parts.clock.now()
    if (!isLast && Math.abs(now - this.#usedWritten) < USED_MS) return
    this.#usedWritten = now
    const used = [...this.#used].map(([id, used]) => ({ id, used }))
    await this.#parts.turn.transaction((session) => writeUsed(session, used))
    for (const { id, used: written } of used) {
      const token = this.#known.get(id)
      if (token !== undefined) token.used = written
      if (this.#used.get(id) === written) this.#used.delete(id)
    }
  }
}
