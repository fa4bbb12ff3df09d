/** Who is signed in, and what they and this house can do. */

import { computed, signal } from '@preact/signals'
import type { Session } from '../../api.ts'
import type { Action, Role } from '../../house.ts'
import { CallError, get, post, useToken, whenSignedOut } from './api.ts'
import { listen, live, stopListening, whenLost } from './live.ts'

/** Undefined until the server has answered, null if nobody is signed in. */
export const session = signal<Session | null | undefined>(undefined)
/** Why it is not known who is signed in. */
export const sessionError = signal<CallError | null>(null)

const RANK: Record<Role, number> = { look: 0, operate: 1, administer: 2 }

export const ROLES: Record<Role, string> = {
  look: 'sees everything and changes nothing',
  operate: 'also starts, cancels, verifies, protects, notes, prunes and restores',
  administer: 'also manages people, hosts and the audit log',
}

export function may(role: Role): boolean {
  const own = session.value?.role
  return own != null && RANK[own] >= RANK[role]
}

const ADMINISTER: readonly Action['do'][] = ['drain', 'rescan']

/** Whether a button for this is shown, what stands in its place, or neither. */
export function ability(what: Action['do'] | 'download', host?: string): { can: boolean; why: string | null } {
  const abilities = session.value?.house?.abilities
  if (!abilities) return { can: false, why: null }
  const has = what === 'download' ? abilities.download : abilities.actions.includes(what)
  if (!has)
    return { can: false, why: (abilities.why[what] ?? 'not possible here').replaceAll('{host}', host ?? 'its host') }
  return { can: may(ADMINISTER.includes(what as Action['do']) ? 'administer' : 'operate'), why: null }
}

export const houseName = computed(() => session.value?.house?.name ?? '')

/** Asks who is signed in. A one-time link has its token behind the hash, which no server's log sees; it is taken out of the address. */
export async function loadSession(): Promise<void> {
  const [, token] = /^#link=(.+)$/.exec(location.hash) ?? []
  if (token !== undefined) location.replace('#/now')
  try {
    begin(token === undefined ? await get<Session>('session') : await post<Session>('link', { token }))
  } catch (error) {
    sessionError.value = error instanceof CallError ? error : new CallError(0, String(error))
    // A link that was used already: there is the form.
    if (token !== undefined) session.value = null
  }
}

export async function signIn(name: string, password: string): Promise<void> {
  begin(await post<Session>('sign-in', { name, password }))
}

/** Ends all other sessions of the account; the server gives this browser a new one. */
export async function changePassword(old: string, next: string): Promise<void> {
  begin(await post<Session>('password', { old, new: next }))
}

export async function signOut(): Promise<void> {
  await post('sign-out')
  begin(null)
}

function begin(current: Session | null): void {
  useToken(current?.csrf ?? null)
  sessionError.value = null
  session.value = current?.user == null ? null : current
  if (session.value === null) {
    stopListening()
    // Nothing is tried again until somebody has signed in.
    live.value = 'connecting'
  } else listen()
}

/** The server was updated meanwhile: this page is that of its former version. */
export const isOutdated = signal(false)

function ended(): void {
  if (session.peek() == null) return
  begin(null)
  sessionError.value = new CallError(401, 'Your session has ended', 'Sign in again, or open another one-time link.')
}

/** What is known of the session may be old: it has ended, a proxy's user has a new one, the role has changed, or the server is another. */
async function askAgain(): Promise<void> {
  const known = session.peek()
  const current = await get<Session>('session').catch(() => null)
  if (current === null || known == null || session.peek() !== known) return
  if (current.user === null) return ended()
  if (current.version !== known.version) isOutdated.value = true
  if (JSON.stringify(current) === JSON.stringify(known)) return
  useToken(current.csrf)
  session.value = current
}

whenSignedOut(ended)
whenLost(() => void askAgain())
