/**
 * Which host a guest belongs to: the one that reports it. Of two hosts that report one name, the one that had it keeps it while it is up, and
 * the other's claim is told. A guest has moved if its host is gone or reports it no more, and another host reports it.
 */

import { matchesAny } from '../../jobs/guests/patterns.ts'

/** A host that is gone for so long loses its guests to hosts that reported the same names before it went. */
export const TAKEOVER_MS = 600_000
/** A guest that no host reports is forgotten then: until then it may be on its way from one host to another. */
export const LIMBO_MS = 3_600_000

export interface ClaimedGuest {
  name: string
  /** What makes it the same guest on another host; null if nobody knows. */
  identity: string | null
}

export type OwnerChange =
  | { change: 'new'; guest: string; host: string }
  /** `isOther`: its identity is another one, so it has only the name in common with the guest on the host before. */
  | { change: 'moved'; guest: string; from: string; host: string; isOther: boolean }
  /** No host has it any more. */
  | { change: 'forgotten'; guest: string; host: string }

interface Claim {
  since: number
  identity: string | null
}

interface Owned {
  guest: string
  host: string
  identity: string | null
  claims: Map<string, Claim>
  /** Since when no host reports it. */
  missing: number | null
}

export class Owners {
  readonly #guests = new Map<string, Owned>()
  /** The names that each host reports and may. */
  readonly #reported = new Map<string, Set<string>>()
  readonly #refused = new Map<string, string[]>()
  /** Hosts that are gone, and since when. */
  readonly #gone = new Map<string, number>()
  /** Hosts that have said nothing since this planner started. */
  readonly #unheard = new Set<string>()
  /** Guests that time decides about. */
  readonly #open = new Set<string>()

  /**
   * What was known before this planner started. It comes before the first report. Its host counts as reporting it until it has said what it has:
   * another host that has only the name in common must not be taken for the new one because it happens to speak first.
   */
  restore(guest: string, host: string, identity: string | null): void {
    const claims = new Map([[host, { since: -Infinity, identity }]])
    this.#guests.set(guest, { guest, host, identity, claims, missing: null })
    this.#reported.set(host, (this.#reported.get(host) ?? new Set()).add(guest))
    this.#unheard.add(host)
  }

  /** All guests of a host. `patterns`: names that its token lets it claim; all if there are none. */
  report(host: string, guests: readonly ClaimedGuest[], patterns: readonly string[], now: number): OwnerChange[] {
    const isAllowed = (name: string) => patterns.length === 0 || matchesAny(name, patterns)
    const before = this.#reported.get(host) ?? new Set()
    const names = new Set<string>()
    const refused: string[] = []
    const touched: Owned[] = []
    for (const { name, identity } of guests) {
      if (!isAllowed(name)) {
        refused.push(name)
        continue
      }
      names.add(name)
      const known = this.#guests.get(name)
      const owned = known ?? { guest: name, host: '', identity, claims: new Map(), missing: null }
      if (known === undefined) this.#guests.set(name, owned)
      owned.claims.set(host, { since: owned.claims.get(host)?.since ?? now, identity })
      if (!before.has(name)) touched.push(owned)
      else if (owned.host === host) owned.identity = identity
    }
    for (const name of before) {
      if (names.has(name)) continue
      const owned = this.#guests.get(name)
      owned?.claims.delete(host)
      if (owned !== undefined) touched.push(owned)
    }
    this.#reported.set(host, names)
    this.#unheard.delete(host)
    if (refused.length > 0) this.#refused.set(host, refused)
    else this.#refused.delete(host)
    return touched.flatMap((owned) => this.#decide(owned, now))
  }

  /** A host that was not said to be gone is up. */
  setUp(host: string, isUp: boolean, now: number): OwnerChange[] {
    if (isUp === !this.#gone.has(host)) return []
    if (isUp) this.#gone.delete(host)
    else this.#gone.set(host, now)
    const names = this.#reported.get(host) ?? []
    return [...names].flatMap((name) => this.#decide(this.#guests.get(name)!, now))
  }

  /** The host is gone for good, and all that it reported. */
  forget(host: string, now: number): OwnerChange[] {
    const changes = this.report(host, [], [], now)
    this.#reported.delete(host)
    const left = [...this.#guests.values()].filter((owned) => owned.host === host)
    for (const { guest } of left) this.#remove(guest)
    this.#gone.delete(host)
    return [...changes, ...left.map(({ guest }) => ({ change: 'forgotten' as const, guest, host }))]
  }

  /** What only time has changed: called now and then. */
  look(now: number): OwnerChange[] {
    const changes: OwnerChange[] = []
    for (const guest of [...this.#open]) {
      const owned = this.#guests.get(guest)!
      changes.push(...this.#decide(owned, now))
      if (owned.missing === null || now - owned.missing < LIMBO_MS) continue
      this.#remove(guest)
      changes.push({ change: 'forgotten', guest, host: owned.host })
    }
    return changes
  }

  /** The host that a guest belongs to; null if nobody knows such a guest. */
  ownerOf(guest: string): string | null {
    return this.#guests.get(guest)?.host ?? null
  }

  /** Whether its host is up and reports it, so that it can be backed up there. */
  isThere(guest: string): boolean {
    const owned = this.#guests.get(guest)
    return owned !== undefined && !this.#gone.has(owned.host) && owned.claims.has(owned.host)
  }

  guests(): { guest: string; host: string; identity: string | null }[] {
    return [...this.#guests.values()].map(({ guest, host, identity }) => ({ guest, host, identity }))
  }

  /** What is wrong with whom a guest belongs to, in one line for people; null if nothing is. */
  problemOf(guest: string): string | null {
    const owned = this.#guests.get(guest)
    if (owned === undefined) return null
    const { host, claims } = owned
    // As it is with nearly all.
    if (claims.size === 1 && claims.has(host) && !this.#gone.has(host)) return null
    const others = [...claims.keys()].filter((name) => name !== host).sort()
    if (others.length > 0)
      return `${others.length === 1 ? `host ${others[0]} reports` : `hosts ${others.join(', ')} report`} a guest of this name too; it is backed up on ${host} alone`
    if (this.#gone.has(host)) return `its host ${host} is gone`
    if (!claims.has(host)) return `no host reports it; it was last seen on ${host}`
    return null
  }

  /** Names that a host reports and its token does not let it claim. */
  refusedOf(host: string): readonly string[] {
    return this.#refused.get(host) ?? []
  }

  #remove(guest: string): void {
    this.#guests.delete(guest)
    this.#open.delete(guest)
  }

  #decide(owned: Owned, now: number): OwnerChange[] {
    const { guest, host: from, claims } = owned
    const isNew = from === ''
    owned.missing = claims.size > 0 ? null : (owned.missing ?? now)
    const goneSince = this.#gone.get(from)
    const keeps = !isNew && claims.has(from) && goneSince === undefined
    const others = keeps ? [] : [...claims].filter(([host]) => host !== from)
    // Of a host that only went silent for a moment, another that has always had a guest of this name takes nothing.
    const isFree = ({ since, identity }: Claim) =>
      !claims.has(from) ||
      goneSince === undefined ||
      (since >= goneSince && !this.#unheard.has(from)) ||
      (identity !== null && identity === owned.identity) ||
      now - goneSince >= TAKEOVER_MS
    const up = others.filter(([host]) => !this.#gone.has(host))
    // A new guest may be known only from what a host said before it went.
    const able = isNew && up.length === 0 ? others : up.filter(([, claim]) => isFree(claim))
    const isOpen = owned.missing !== null || (!keeps && up.length > able.length)
    if (isOpen) this.#open.add(guest)
    else this.#open.delete(guest)
    if (able.length === 0) return []
    const same = ({ identity }: Claim) => (identity !== null && identity === owned.identity ? 0 : 1)
    const [[host, claim]] = able.sort(
      ([a, one], [b, other]) => same(one) - same(other) || one.since - other.since || (a < b ? -1 : 1),
    )
    const isOther = claim.identity !== null && owned.identity !== null && claim.identity !== owned.identity
    owned.host = host
    owned.identity = claim.identity ?? owned.identity
    this.#open.delete(guest)
    return [isNew ? { change: 'new', guest, host } : { change: 'moved', guest, from, host, isOther }]
  }
}
