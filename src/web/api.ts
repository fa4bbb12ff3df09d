/**
 * The API of the page: what goes over HTTP besides what house.ts describes. The page imports these types alone. Views are GET, the values
 * of a filter are parameters of the query; the others are POST with JSON.
 *
 *     GET  /api/session                        Session                    open to all; also makes the session of a trusted proxy's user
 *     POST /api/sign-in       SignIn           Session                    open to all
 *     POST /api/link          LinkSignIn       Session                    open to all; the page finds `#link=TOKEN` in its address
 *     POST /api/sign-out      {}               {}
 *     GET  /api/now | guests | jobs | hosts    NowView, GuestRow[], …
 *     GET  /api/guest?host=&guest=             GuestRow, or null
 *     GET  /api/archives?host=&guest=          ArchiveRow[]
 *     GET  /api/content?host=&archive=         ArchiveContent
 *     GET  /api/runs?host=&job=&since=&until=&most=    RunRow[]
 *     GET  /api/run-days?host=&job=&since=&zone=       RunDay[]
 *     GET  /api/report?host=&job=&run=         RunReport, or null
 *     GET  /api/picture?host=&archive=         PNG
 *     GET  /api/events                         server-sent events: `now` is NowEvent, `changed` is ChangedEvent
 *     GET  /api/files?host=&archive=&path=     FileRow[]                  operate, as are all that follow
 *     GET  /api/download?host=&archive=&drive= | &file=                   an attachment
 *     GET  /api/prune-plan?host=&job=&guest=   PruneView
 *     POST /api/restore-command RestoreForm    { command }
 *     POST /api/act           Action           { id }                     drain and rescan: administer
 *     POST /api/password      OwnPassword      {}                         look; ends the other sessions of the account
 *     GET  /api/sessions                       SessionRow[]               look: their own; administer: all
 *     POST /api/sessions/end  { id }           {}
 *     GET  /api/accounts                       AccountRow[]               administer, as are all that follow
 *     POST /api/accounts/add | remove | change AccountAdd, { name }, AccountChange
 *     POST /api/links         { role }         { link, expires }          a one-time link for somebody else
 *     GET  /api/audit?before=&most=            AuditRow[]                 the newest first; `before` is the `at` of the last one shown
 *
 * Each POST carries the session's token in `x-vmapipe-csrf` (but sign-in and link, which have none yet). Errors are ApiError with a status
 * of 400 (what was asked makes no sense), 401 (signed out), 403 (the role does not allow it), 404, 429 (too often; `retry-after` in
 * seconds), 502 (it failed outside of us), 500.
 */

import type { Abilities, NowRow, NowView, Role } from './house.ts'

export interface Session {
  /** Null if nobody is signed in; the others are then null, too. */
  user: string | null
  role: Role | null
  /** For `x-vmapipe-csrf`. */
  csrf: string | null
  /** How they signed in. The user of a link or a proxy has no password to change. */
  how: 'password' | 'link' | 'proxy' | null
  house: { name: string; abilities: Abilities } | null
  /** The version of vmapipe. */
  version: string | null
}

export interface SignIn {
  name: string
  password: string
}

export interface LinkSignIn {
  token: string
}

export interface OwnPassword {
  old: string
  new: string
}

export interface FileRow {
  name: string
  folder: boolean
  size: number | null
}

/**
 * The event `now`. `rows` are those that are new or have changed, all of them if `whole`; `order` names all rows that there are by id, so one
 * that it does not name has gone. `tasks` and `problems` are whole, and are missing if they have not changed.
 */
export interface NowEvent {
  at: string
  whole: boolean
  order: string[]
  rows: NowRow[]
  tasks?: NowView['tasks']
  problems?: NowView['problems']
}

/** The event `changed`: what should be asked for again, if it is shown. */
export interface ChangedEvent {
  what: ('guests' | 'archives' | 'jobs' | 'hosts')[]
}

export interface SessionRow {
  /** Not the id of its cookie. */
  id: string
  user: string
  role: Role
  how: NonNullable<Session['how']>
  from: string
  began: string
  seen: string
  /** Whether it is that of the one who asks. */
  own: boolean
}

export interface AccountRow {
  name: string
  role: Role
  created: string
  /** When the password was last changed. */
  changed: string
}

export interface AccountAdd {
  name: string
  password: string
  role: Role
}

/** What is missing stays. A new password ends the sessions of the account. */
export interface AccountChange {
  name: string
  role?: Role
  password?: string
}

export interface AuditRow {
  at: string
  /** The account; null if nobody was signed in. */
  who: string | null
  /** The address. */
  from: string
  /** Such as `sign-in`, `start`, `download`. */
  what: string
  /** Of what, and how: names and values without secrets, escaped. */
  detail: string
  outcome: 'done' | 'failed' | 'refused'
}

export interface ApiError {
  error: { code: string; message: string; hint?: string }
}
