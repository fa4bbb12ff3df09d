/**
 * Who is signed in. A session is named by 256 random bits in a cookie, of which the server keeps a hash. It ends after some hours without a
 * request, after some days in any case, at sign-out, and with its account or its password. A store keeps sessions over a restart of the server;
 * without one they end with it.
 */

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { asVmapipeError } from '../../core/errors.ts'
import type { KeptSession, SessionStore } from '../../fleet/fleet.ts'
import { ROLES } from '../accounts/accounts.ts'
import type { SessionRow } from '../api.ts'
import type { Role } from '../house.ts'

export const IDLE_MS = 8 * 3600_000
export const LONGEST_MS = 7 * 24 * 3600_000
const MOST_SESSIONS = 5000
const MOST_OF_ONE = 20
/** The last request of a session is kept to the minute: each one would be a write. */
const SEEN_MS = 60_000

export interface Session {
  /** For lists and limits; the cookie cannot be guessed of it. */
  readonly id: string
  readonly user: string
  /** As it was at the sign-in; that of an account may change. */
  role: Role
  readonly how: SessionRow['how']
  /** Of the account (Accounts.state); null if there is none. */
  readonly stamp: string | null
  readonly from: string
  began: number
  seen: number
  /** Aborted when it ends: so do its streams. */
  readonly ended: AbortController
}

/** What is kept of a session besides the hash of its cookie. */
const CONTENT = z.object({
  ...{
    id: z.string().max(100),
    user: z.string().max(1000),
    role: z.enum(ROLES),
    how: z.enum(['password', 'link', 'proxy']),
  },
  ...{ stamp: z.string().nullable(), from: z.string(), began: z.number(), seen: z.number() },
})

export class Sessions {
  readonly #now: () => number
  readonly #store: SessionStore | null
  readonly #warn: (message: string) => void
  /** By the hash of the cookie, the oldest first. */
  readonly #known = new Map<string, Session>()
  readonly #keys = new WeakMap<Session, string>()
  /** When each was last seen, as the store has it. */
  readonly #seenThere = new WeakMap<Session, number>()
  /** Hashes of sessions that the store does not have as they are, or has and should not. */
  #unkept = new Set<string>()
  #keeping: Promise<void> = Promise.resolve()

  constructor(
    now: () => number = Date.now,
    store: SessionStore | null = null,
    warn: (message: string) => void = () => {},
  ) {
    this.#now = now
    this.#store = store
    this.#warn = warn
  }

  /** Takes up what an earlier server has kept. Without it people sign in again: a warning says why. */
  async load(): Promise<void> {
    this.#store?.onChange?.(() => void this.#inTurn(() => this.#read()))
    await this.#inTurn(() => this.#read())
  }

  /** Reads and writes of the store, one after the other. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#keeping = this.#keeping.then(work)
    return this.#keeping
  }

  /** What another server has ended meanwhile ends here too. What was ended here, and could not be written, stays ended. */
  async #read(): Promise<void> {
    const kept = await this.#store?.read().catch((error) => {
      this.#warn(`who has signed in before is not known: ${asVmapipeError(error).line}`)
    })
    if (kept === undefined) return
    const there = new Map(kept.map(({ hash, content }) => [hash, CONTENT.safeParse(content).data]))
    // The store does not have them yet as they are here.
    const isNewer = (key: string) => this.#unkept.has(key)
    for (const key of [...this.#known.keys()]) if (!isNewer(key) && there.get(key) === undefined) this.#drop(key)
    for (const [key, data] of there) {
      if (data === undefined) this.#drop(key)
      else if (!this.#known.has(key) && !isNewer(key)) this.#add(key, { ...data, ended: new AbortController() })
    }
    const [unkept] = this.#unkept
    if (unkept !== undefined) this.#write(unkept)
    this.#tidy()
  }

  /** Returns the text for the cookie. */
  begin(about: Pick<Session, 'user' | 'role' | 'how' | 'stamp' | 'from'>): { cookie: string; session: Session } {
    this.#tidy()
    const own = [...this.#known].filter(([, { user, how }]) => user === about.user && how === about.how)
    if (own.length >= MOST_OF_ONE) this.#drop(own[0][0])
    if (this.#known.size >= MOST_SESSIONS) this.#drop(this.#known.keys().next().value!)
    const cookie = randomBytes(32).toString('base64url')
    const now = this.#now()
    const id = randomBytes(6).toString('hex')
    const session = { ...about, id, began: now, seen: now, ended: new AbortController() }
    this.#add(hashOf(cookie), session)
    this.#keep(session)
    return { cookie, session }
  }

  /** Null if there is none, or it has expired. */
  find(cookie: string): Session | null {
    const key = hashOf(cookie)
    const session = this.#known.get(key)
    if (session === undefined) return null
    if (this.hasExpired(session)) {
      this.#drop(key)
      return null
    }
    return session
  }

  touch(session: Session): void {
    session.seen = this.#now()
    if (session.seen - this.#seenThere.get(session)! >= SEEN_MS) this.#keep(session)
  }

  hasExpired(session: Session): boolean {
    const now = this.#now()
    if (session.began > now) this.#setBack(session, now)
    const { began, seen, ended } = session
    return ended.signal.aborted || now - seen >= IDLE_MS || now - began >= LONGEST_MS
  }

  /** The clock was ahead when it began, and was set right since: it must not last longer for that. */
  #setBack(session: Session, now: number): void {
    session.began = now
    session.seen = now
    this.#keep(session)
  }

  /** Ends those that are chosen. Returns how many there were. */
  end(chosen: (session: Session) => boolean): number {
    const keys = [...this.#known].filter(([, session]) => chosen(session)).map(([key]) => key)
    for (const key of keys) this.#drop(key)
    return keys.length
  }

  list(): Session[] {
    this.#tidy()
    return [...this.#known.values()]
  }

  /** Resolves when the store has what was begun and ended so far, or a warning has said that it could not be written. */
  async kept(): Promise<void> {
    await this.#keeping
  }

  #tidy(): void {
    for (const [key, session] of this.#known) if (this.hasExpired(session)) this.#drop(key)
  }

  #add(key: string, session: Session): void {
    this.#known.set(key, session)
    this.#keys.set(session, key)
    this.#seenThere.set(session, session.seen)
  }

  #drop(key: string): void {
    this.#known.get(key)?.ended.abort()
    this.#known.delete(key)
    this.#write(key)
  }

  #keep(session: Session): void {
    this.#seenThere.set(session, session.seen)
    this.#write(this.#keys.get(session)!)
  }

  /** What could not be written is tried again with the next change. */
  #write(key: string): void {
    const store = this.#store
    if (store === null) return
    this.#unkept.add(key)
    void this.#inTurn(async () => {
      if (this.#unkept.size === 0) return
      const keys = [...this.#unkept]
      this.#unkept = new Set()
      const kept = keys.flatMap((hash) => this.#known.get(hash) ?? []).map((session) => this.#keptOf(session))
      const gone = keys.filter((hash) => !this.#known.has(hash))
      await store.write(kept, gone).catch((error) => {
        for (const one of keys) this.#unkept.add(one)
        this.#warn(`who is signed in could not be kept for a restart: ${asVmapipeError(error).line}`)
      })
    })
  }

  #keptOf(session: Session): KeptSession {
    const { ended: _, ...content } = session
    const { began, seen } = content
    const hash = this.#keys.get(session)!
    return { hash, expires: Math.min(began + LONGEST_MS, seen + IDLE_MS), content }
  }
}

/** The token of a session against forged requests. It follows from the cookie, so nothing that is kept tells it. */
export function csrfOf(cookie: string): string {
  return createHmac('sha256', cookie).update('csrf').digest('base64url')
}

function hashOf(cookie: string): string {
  return createHash('sha256').update(cookie).digest('hex')
}

/** Compares two secrets in a time that does not depend on how much of them is alike. */
export function areSame(a: string, b: string): boolean {
  const [left, right] = [a, b].map((text) => createHash('sha256').update(text).digest())
  return timingSafeEqual(left, right)
}
