/** What the routes of the page share: the house, who may sign in, and who asks. */

import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { SessionStore } from '../../fleet/fleet.ts'
import type { Accounts } from '../accounts/accounts.ts'
import type { AuditLog } from '../accounts/audit.ts'
import type { Links } from '../accounts/links.ts'
import type { House, Role } from '../house.ts'
import type { Changes } from './changes.ts'
import type { Backoff, Buckets, OpenCount } from './limits.ts'
import type { Listen, Peers } from './listen.ts'
import type { Page } from './page-files.ts'
import type { Need } from './roles.ts'
import type { Session, Sessions } from './sessions.ts'

/** A proxy in front of us. It is believed only if the connection comes from one of its addresses. */
export interface TrustedProxy {
  peers: Peers
  /** The header with the name of the user whom it has signed in; nobody is signed in by it if this is missing. */
  userHeader?: string
  /** What its users may do, unless a group of theirs says more. */
  role: Role
  /** The header with the groups of the user, divided by commas, and the roles of groups. */
  groupHeader?: string
  groups?: ReadonlyMap<string, Role>
}

export interface WebOptions {
  house: House
  accounts: Accounts
  links: Links
  audit: AuditLog
  page: Page | (() => Promise<Page>)
  /** Keeps who is signed in over a restart. */
  sessionStore?: SessionStore
  listen: Listen
  version: string
  /** Browsers reach us by TLS, ours or the proxy's: cookies are sent by TLS alone. */
  isSecure: boolean
  /** Names in the Host header besides those of `listen`. */
  hostNames?: readonly string[]
  proxy?: TrustedProxy
  /** The address that one-time links begin with. */
  base?: () => string
  now?: () => number
  /** Told of what nobody expects, without secrets. */
  warn?: (message: string) => void
  /** Milliseconds, for tests. */
  lookMs?: number
  beatMs?: number
}

/** Who asks, and from where. */
export interface Asker {
  /** The address of the browser, as far as it is known. */
  from: string
  session: Session | null
  /** The token of the session. */
  csrf: string | null
  /** Whom the trusted proxy has signed in; the session is then theirs or none. */
  proxied: { user: string; role: Role } | null
}

export interface Env {
  Bindings: HttpBindings
  Variables: { asker: Asker }
}

export type WebContext = Context<Env>

/** All that a route can use. */
export interface Web extends Pick<WebOptions, 'house' | 'accounts' | 'links' | 'audit' | 'version' | 'isSecure'> {
  sessions: Sessions
  changes: Changes
  base: () => string
  now: () => number
  warn: (message: string) => void
  limits: {
    signInFrom: Buckets
    signInAs: Backoff
    /** Those who are not signed in, by address, and those who are, by session. */
    strangers: Buckets
    sessions: Buckets
    events: OpenCount
    downloads: OpenCount
  }
  cookie: string
  /** Aborted when the page is closed. */
  closing: AbortSignal
}

/** A route, with what it needs. There is no other way to make one. */
export interface Route {
  method: 'GET' | 'POST'
  path: `/api/${string}`
  need: Need
  /** Begins a session, so it cannot have its token. */
  beginsSession?: boolean
  handle(c: WebContext, web: Web): Promise<Response>
}

/** The session of a route that needs a role. */
export function sessionOf(c: WebContext): Session {
  return c.get('asker').session!
}
