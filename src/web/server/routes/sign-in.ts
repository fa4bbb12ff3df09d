/** Signing in and out: by a password, by a one-time link, or as whom a trusted proxy names. */

import { deleteCookie, getCookie, setCookie } from 'hono/cookie'
import type { Session as SessionView } from '../../api.ts'
import { LINK_SIGN_IN, NOTHING, OWN_PASSWORD, SIGN_IN } from '../action-schema.ts'
import { bodyOf, json, Refusal, tooOften } from '../answers.ts'
import { addressKey } from '../limits.ts'
import { csrfOf, type Session } from '../sessions.ts'
import { type Route, sessionOf, type Web, type WebContext } from '../web.ts'

export const signInRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/session', need: 'open', handle: showSession },
  { method: 'POST', path: '/api/sign-in', need: 'open', beginsSession: true, handle: signIn },
  { method: 'POST', path: '/api/link', need: 'open', beginsSession: true, handle: signInByLink },
  { method: 'POST', path: '/api/sign-out', need: 'look', handle: signOut },
  { method: 'POST', path: '/api/password', need: 'look', handle: changeOwnPassword },
]

async function showSession(c: WebContext, web: Web): Promise<Response> {
  const { session, csrf, proxied, from } = c.get('asker')
  if (session !== null || proxied === null) return json(c, view(session, csrf, web))
  const { user, role } = proxied
  await web.audit.add({ who: user, from, what: 'sign-in', detail: `by the proxy, role ${role}`, outcome: 'done' })
  return begin(c, web, { user, role, how: 'proxy', stamp: null })
}

async function signIn(c: WebContext, web: Web): Promise<Response> {
  const { name, password } = await bodyOf(c, SIGN_IN)
  const { from, proxied } = c.get('asker')
  if (proxied !== null) throw new Refusal(400, 'USAGE', `the proxy has signed in '${proxied.user}'`)
  await slowDown(c, web, 'sign-in', name)
  const account = await web.accounts.signIn(name, password)
  if (account === null) {
    web.limits.signInAs.failed(name)
    // The name may be a password that was typed into the wrong field: it is kept only if it is an account's.
    const detail = (await web.accounts.state(name)) === null ? 'no such account' : `account ${name}`
    await web.audit.add({ who: null, from, what: 'sign-in', detail, outcome: 'failed' })
    throw new Refusal(401, 'WRONG', 'the name or the password is wrong')
  }
  web.limits.signInAs.succeeded(name)
  web.limits.signInFrom.give(addressKey(from))
  await web.audit.add({ who: name, from, what: 'sign-in', detail: `role ${account.role}`, outcome: 'done' })
  return begin(c, web, { user: name, role: account.role, how: 'password', stamp: account.stamp })
}

async function signInByLink(c: WebContext, web: Web): Promise<Response> {
  const { token } = await bodyOf(c, LINK_SIGN_IN)
  const { from, proxied } = c.get('asker')
  if (proxied !== null) throw new Refusal(400, 'USAGE', `the proxy has signed in '${proxied.user}'`)
  await slowDown(c, web, 'link')
  const link = await web.links.use(token)
  if (link === null) {
    await web.audit.add({ who: null, from, what: 'link', detail: 'used, expired or unknown', outcome: 'failed' })
    throw new Refusal(401, 'WRONG', 'this link was used already, or has expired', {
      hint: 'vmapipe web link makes another',
    })
  }
  web.limits.signInFrom.give(addressKey(from))
  const user = `link-${link.id}`
  await web.audit.add({ who: user, from, what: 'sign-in', detail: `by a link, role ${link.role}`, outcome: 'done' })
  return begin(c, web, { user, role: link.role, how: 'link', stamp: null })
}

/** Throws if there were too many attempts from this address, or as this account. */
async function slowDown(c: WebContext, web: Web, what: string, name?: string): Promise<void> {
  const { from } = c.get('asker')
  const byAccount = name === undefined ? 0 : web.limits.signInAs.wait(name)
  const wait = byAccount > 0 ? byAccount : web.limits.signInFrom.take(addressKey(from))
  if (wait === 0) return
  await web.audit.add({ who: null, from, what, detail: 'too many attempts', outcome: 'refused' })
  throw tooOften(wait, 'too many attempts to sign in')
}

async function signOut(c: WebContext, web: Web): Promise<Response> {
  await bodyOf(c, NOTHING)
  const session = sessionOf(c)
  web.sessions.end((one) => one === session)
  await web.sessions.kept()
  deleteCookie(c, web.cookie, { path: '/', secure: web.isSecure })
  // What the browser has kept of us goes, too.
  c.header('clear-site-data', '"cache", "storage"')
  await web.audit.add({ who: session.user, from: c.get('asker').from, what: 'sign-out', detail: '', outcome: 'done' })
  return withCookies(c, await json(c, {}))
}

async function changeOwnPassword(c: WebContext, web: Web): Promise<Response> {
  const { old, new: password } = await bodyOf(c, OWN_PASSWORD)
  const session = sessionOf(c)
  const { user, how } = session
  if (how !== 'password') throw new Refusal(400, 'USAGE', 'who has signed in by a link or a proxy has no password')
  await slowDown(c, web, 'password', user)
  const about = { who: user, from: c.get('asker').from, what: 'password', detail: `account ${user}` }
  if ((await web.accounts.signIn(user, old)) === null) {
    web.limits.signInAs.failed(user)
    await web.audit.add({ ...about, outcome: 'failed' })
    throw new Refusal(403, 'WRONG', 'the old password is wrong')
  }
  web.limits.signInFrom.give(addressKey(about.from))
  await web.accounts.change(user, { password })
  web.sessions.end((one) => one.user === user && one.how === 'password')
  await web.audit.add({ ...about, outcome: 'done' })
  const account = await web.accounts.state(user)
  if (account === null) throw new Refusal(401, 'SIGNED_OUT', 'the account was removed')
  return begin(c, web, { user, role: account.role, how, stamp: account.stamp })
}

/** Begins a session with an id that nobody had before, and ends the one that the browser came with. */
async function begin(
  c: WebContext,
  web: Web,
  about: Pick<Session, 'user' | 'role' | 'how' | 'stamp'>,
): Promise<Response> {
  const former = web.sessions.find(getCookie(c, web.cookie) ?? '')
  if (former !== null) web.sessions.end((one) => one === former)
  const { cookie, session } = web.sessions.begin({ ...about, from: c.get('asker').from })
  await web.sessions.kept()
  setCookie(c, web.cookie, cookie, { path: '/', httpOnly: true, sameSite: 'Strict', secure: web.isSecure })
  return withCookies(c, await json(c, view(session, csrfOf(cookie), web)))
}

/** Hono adds headers that were set before to answers that it makes itself; ours are made by `json`. */
function withCookies(c: WebContext, answer: Response): Response {
  return c.newResponse(answer.body, answer)
}

function view(session: Session | null, csrf: string | null, { house, version }: Web): SessionView {
  if (session === null) return { user: null, role: null, csrf: null, how: null, house: null, version: null }
  const { user, role, how } = session
  return { user, role, csrf, how, house: { name: house.name, abilities: house.abilities }, version }
}
