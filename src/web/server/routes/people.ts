/** Accounts, sessions, one-time links and the audit log. */

import { LINK_MS, linkAddress } from '../../accounts/links.ts'
import type { SessionRow } from '../../api.ts'
import { ACCOUNT_ADD, ACCOUNT_CHANGE, ACCOUNT_NAME, LINK_MAKE, QUERIES, SESSION_ID } from '../action-schema.ts'
import { bodyOf, json, queryOf, Refusal } from '../answers.ts'
import { permits } from '../roles.ts'
import type { Session } from '../sessions.ts'
import { type Route, sessionOf, type Web, type WebContext } from '../web.ts'

export const peopleRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/sessions', need: 'look', handle: listSessions },
  { method: 'POST', path: '/api/sessions/end', need: 'look', handle: endSession },
  {
    method: 'GET',
    path: '/api/accounts',
    need: 'administer',
    handle: async (c, { accounts }) => (queryOf(c, QUERIES.none), json(c, await accounts.list())),
  },
  { method: 'POST', path: '/api/accounts/add', need: 'administer', handle: addAccount },
  { method: 'POST', path: '/api/accounts/remove', need: 'administer', handle: removeAccount },
  { method: 'POST', path: '/api/accounts/change', need: 'administer', handle: changeAccount },
  { method: 'POST', path: '/api/links', need: 'administer', handle: makeLink },
  {
    method: 'GET',
    path: '/api/audit',
    need: 'administer',
    handle: async (c, { audit }) => json(c, await audit.read(queryOf(c, QUERIES.audit))),
  },
]

/** Their own, or all for an administrator. */
function visible(asking: Session): (session: Session) => boolean {
  return ({ user, how }) => permits(asking.role, 'administer') || (user === asking.user && how === asking.how)
}

async function listSessions(c: WebContext, { sessions }: Web): Promise<Response> {
  queryOf(c, QUERIES.none)
  const asking = sessionOf(c)
  const iso = (ms: number) => new Date(ms).toISOString()
  const rows = sessions
    .list()
    .filter(visible(asking))
    .map((one): SessionRow => {
      const { id, user, role, how, from, began, seen } = one
      return { id, user, role, how, from, began: iso(began), seen: iso(seen), own: one === asking }
    })
  return json(c, rows)
}

async function endSession(c: WebContext, web: Web): Promise<Response> {
  const { id } = await bodyOf(c, SESSION_ID)
  const isVisible = visible(sessionOf(c))
  if (web.sessions.end((one) => one.id === id && isVisible(one)) === 0)
    throw new Refusal(404, 'NOT_FOUND', 'there is no such session')
  await web.sessions.kept()
  await note(c, web, 'end-session', id)
  return json(c, {})
}

async function addAccount(c: WebContext, web: Web): Promise<Response> {
  const { name, password, role } = await bodyOf(c, ACCOUNT_ADD)
  return noted(c, web, 'add-account', `${name}, role ${role}`, () => web.accounts.add(name, password, role))
}

async function removeAccount(c: WebContext, web: Web): Promise<Response> {
  const { name } = await bodyOf(c, ACCOUNT_NAME)
  return noted(c, web, 'remove-account', name, async () => {
    await web.accounts.remove(name)
    endOf(web, name)
  })
}

async function changeAccount(c: WebContext, web: Web): Promise<Response> {
  const { name, role, password } = await bodyOf(c, ACCOUNT_CHANGE)
  const changes = [role && `role ${role}`, password !== undefined && 'a new password'].filter(Boolean).join(', ')
  return noted(c, web, 'change-account', `${name}: ${changes || 'nothing'}`, async () => {
    await web.accounts.change(name, { role, password })
    if (password !== undefined) endOf(web, name)
  })
}

async function makeLink(c: WebContext, web: Web): Promise<Response> {
  const { role } = await bodyOf(c, LINK_MAKE)
  const { id, token, expires } = await web.links.make(role)
  await note(c, web, 'make-link', `link-${id}, role ${role}, for ${LINK_MS / 60_000} minutes`)
  return json(c, { link: linkAddress(web.base(), token), expires: new Date(expires).toISOString() })
}

function endOf({ sessions }: Web, name: string): void {
  sessions.end(({ user, how }) => how === 'password' && user === name)
}

async function noted(
  c: WebContext,
  web: Web,
  what: string,
  detail: string,
  change: () => Promise<void>,
): Promise<Response> {
  try {
    await change()
  } catch (error) {
    await note(c, web, what, detail, 'failed')
    throw error
  }
  await note(c, web, what, detail)
  return json(c, {})
}

function note(c: WebContext, { audit }: Web, what: string, detail: string, outcome: 'done' | 'failed' = 'done') {
  return audit.add({ who: sessionOf(c).user, from: c.get('asker').from, what, detail, outcome })
}
