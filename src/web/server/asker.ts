/**
 * Finds out who asks. The address is that of the connection, or what a trusted proxy says; the session is that of the cookie, if it goes on:
 * its account may have been removed, its password changed, or the proxy may name somebody else.
 */

import { isIP } from 'node:net'
import { getCookie } from 'hono/cookie'
import type { Role } from '../house.ts'
import { peerOf } from './listen.ts'
import { permits } from './roles.ts'
import { csrfOf, type Session } from './sessions.ts'
import type { Asker, TrustedProxy, Web, WebContext } from './web.ts'

export async function findAsker(c: WebContext, web: Web, proxy: TrustedProxy | undefined): Promise<Asker> {
  const peer = peerOf(c.env.incoming.socket.remoteAddress)
  const isTrusted = proxy?.peers.has(peer) ?? false
  const from = isTrusted ? forwarded(c.req.header('x-forwarded-for'), peer) : peer
  const proxied = isTrusted ? proxiedUser(c, proxy!) : null
  const cookie = getCookie(c, web.cookie) ?? ''
  const session = web.sessions.find(cookie)
  if (session === null || !(await goesOn(session, web, proxied))) return { from, session: null, csrf: null, proxied }
  return { from, session, csrf: csrfOf(cookie), proxied }
}

/** The last address, which our proxy has added; those before it may be made up. */
function forwarded(header: string | undefined, peer: string): string {
  const last = header?.split(',').at(-1)?.trim() ?? ''
  return isIP(last) === 0 ? peer : last
}

function proxiedUser(c: WebContext, { userHeader, role, groupHeader, groups }: TrustedProxy): Asker['proxied'] {
  const user = userHeader === undefined ? undefined : c.req.header(userHeader)?.trim()
  // A header that was given twice arrives as one with a comma, of which nobody knows which part is the proxy's.
  if (!user || user.length > 200 || /[,\p{Cc}]/u.test(user)) return null
  const named = groupHeader === undefined ? [] : (c.req.header(groupHeader) ?? '').split(',')
  const roles = named.map((group) => groups?.get(group.trim())).filter((found): found is Role => found !== undefined)
  return { user, role: [role, ...roles].reduce((best, one) => (permits(one, best) ? one : best)) }
}

/** Whether the session is still good. Gives it the role that its user has now; ends it if it is not good. */
export async function goesOn(session: Session, web: Web, proxied: Asker['proxied']): Promise<boolean> {
  const role = await roleNow(session, web, proxied)
  if (role === null) {
    web.sessions.end((one) => one === session)
    return false
  }
  session.role = role
  return true
}

async function roleNow(session: Session, web: Web, proxied: Asker['proxied']): Promise<Role | null> {
  // Whom a proxy names is the user, and nobody else.
  if (session.how === 'proxy') return proxied?.user === session.user ? proxied.role : null
  if (proxied !== null) return null
  if (session.how === 'link') return session.role
  const account = await web.accounts.state(session.user)
  return account !== null && account.stamp === session.stamp ? account.role : null
}
