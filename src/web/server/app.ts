/**
 * The page as a hono app over a house. Every request passes the same gate, in this order: the Host header, who asks, the role, how often,
 * where the request comes from, its token. Only then its route is called, and reads the body up to a limit.
 */

import { Hono } from 'hono'
import { asVmapipeError } from '../../core/errors.ts'
import { errorResponse, Refusal, tooOften } from './answers.ts'
import { findAsker } from './asker.ts'
import { Changes } from './changes.ts'
import { addHeaders } from './headers.ts'
import { HostNames } from './hosts.ts'
import { addressKey, Backoff, Buckets, OpenCount, steady } from './limits.ts'
import { permits } from './roles.ts'
import { actionRoutes } from './routes/actions.ts'
import { dataRoutes } from './routes/data.ts'
import { peopleRoutes } from './routes/people.ts'
import { signInRoutes } from './routes/sign-in.ts'
import { viewRoutes } from './routes/views.ts'
import { areSame, Sessions } from './sessions.ts'
import { StaticFiles } from './static-files.ts'
import type { Env, Route, Web, WebContext, WebOptions } from './web.ts'

const MINUTE = 60_000
/** At once, of one session. */
const MOST_EVENTS = 6
const MOST_DOWNLOADS = 4

/** All routes there are. */
export const ROUTES: readonly Route[] = [
  ...signInRoutes,
  ...viewRoutes,
  ...dataRoutes,
  ...actionRoutes,
  ...peopleRoutes,
]

export interface WebApp {
  app: Hono<Env>
  /** The cookie of a session. */
  cookie: string
  /** Ends streams. Requests after it are refused. */
  close(): void
  /** Streams of events that are open. */
  readonly readers: number
  readonly sessions: Sessions
}

export function webApp(options: WebOptions): WebApp {
  const closing = new AbortController()
  const web = makeWeb(options, closing.signal)
  const names = new HostNames(options.listen, options.hostNames)
  const files = new StaticFiles(options.page)
  const app = new Hono<Env>()
  app.onError((error) => errorResponse(error, web.warn))
  app.use(async (c, next) => {
    await next()
    addHeaders(c.res.headers, web.isSecure)
  })
  app.use(async (c, next) => {
    if (closing.signal.aborted) throw new Refusal(503, 'ENDING', 'the page is being closed')
    const { headersDistinct, url = '' } = c.env.incoming
    // Of two names, or another one in the line of the request, nobody knows which the other programs on the way have looked at.
    if (headersDistinct.host?.length !== 1 || !url.startsWith('/') || !names.has(headersDistinct.host[0]))
      throw new Refusal(421, 'HOST', 'this is not the name of this page', { hint: 'allow it by --host-name NAME' })
    c.set('asker', await findAsker(c, web, options.proxy))
    await next()
  })
  for (const route of ROUTES)
    app.on(route.method, route.path, async (c) => {
      await gate(c, web, route)
      return route.handle(c, web)
    })
  app.all('/api/*', (c) => {
    throw ROUTES.some(({ path }) => path === c.req.path)
      ? new Refusal(405, 'METHOD', `${c.req.method} is not possible here`)
      : new Refusal(404, 'NOT_FOUND', 'there is nothing here')
  })
  app.get('*', async (c) => {
    const { pathname } = new URL(c.req.url)
    const answer = await files.answer(pathname, c.req.raw.headers)
    if (answer === null) throw new Refusal(404, 'NOT_FOUND', 'there is nothing here')
    return answer
  })
  app.all('*', (c) => {
    throw new Refusal(405, 'METHOD', `${c.req.method} is not possible here`)
  })
  return {
    app,
    cookie: web.cookie,
    close() {
      closing.abort()
      web.changes.close()
    },
    get readers() {
      return web.changes.readers
    },
    sessions: web.sessions,
  }
}

function makeWeb(options: WebOptions, closing: AbortSignal): Web {
  const { house, accounts, links, audit, version, isSecure, listen, now = Date.now } = options
  const { warn = () => {}, base = () => '', lookMs, beatMs, sessionStore } = options
  const ticks = steady(now)
  const buckets = (amount: number, per: number) => new Buckets({ amount, per }, ticks)
  const look = { ...(lookMs !== undefined && { lookMs }), ...(beatMs !== undefined && { beatMs }) }
  return {
    ...{ house, accounts, links, audit, version, isSecure, base, now, warn, closing },
    sessions: new Sessions(now, sessionStore, warn),
    changes: new Changes(house, { ...look, warn: (error) => warn(asVmapipeError(error).line) }),
    limits: {
      signInFrom: buckets(20, 5 * MINUTE),
      signInAs: new Backoff(ticks),
      strangers: buckets(300, MINUTE),
      sessions: buckets(600, MINUTE),
      events: new OpenCount(MOST_EVENTS),
      downloads: new OpenCount(MOST_DOWNLOADS),
    },
    // Cookies know no ports: two of us on one host need two names.
    cookie: isSecure ? '__Host-vmapipe' : `vmapipe-${'path' in listen ? 'unix' : listen.port}`,
  }
}

/** The one place that decides whether a request reaches its route. */
async function gate(c: WebContext, web: Web, { method, path, need, beginsSession = false }: Route): Promise<void> {
  const { from, session, csrf, proxied } = c.get('asker')
  const wait =
    session === null ? web.limits.strangers.take(addressKey(from)) : web.limits.sessions.take(`session ${session.id}`)
  if (wait > 0) throw tooOften(wait)
  // Hono answers HEAD by GET, which would begin streams that nobody reads.
  if (c.req.method !== method) throw new Refusal(405, 'METHOD', `${c.req.method} is not possible here`)
  const refuse = async (refusal: Refusal): Promise<never> => {
    const who = session?.user ?? proxied?.user ?? null
    await web.audit.add({ who, from, what: `${method} ${path}`, detail: refusal.message, outcome: 'refused' })
    throw refusal
  }
  const origin = wrongOrigin(c, method)
  if (origin !== null) await refuse(new Refusal(403, 'ORIGIN', origin))
  if (need !== 'open' && session === null) throw new Refusal(401, 'SIGNED_OUT', 'sign in first')
  if (!permits(session?.role ?? null, need))
    await refuse(new Refusal(403, 'ROLE', `this needs the role '${need}'`, { hint: 'ask an administrator' }))
  if (method === 'POST') {
    if (!/^application\/json(;|$)/i.test(c.req.header('content-type') ?? ''))
      throw new Refusal(415, 'TYPE', 'the body has to be application/json')
    const token = c.req.header('x-vmapipe-csrf') ?? ''
    if (!beginsSession && (csrf === null || !areSame(token, csrf)))
      await refuse(
        new Refusal(403, 'TOKEN', 'the token of the session is missing or wrong', { hint: 'load the page again' }),
      )
  }
  if (session !== null) web.sessions.touch(session)
}

/** Why the request was not begun by a page of ours; null if it was. Each browser sends one of these headers with a POST, and no page can change them. */
function wrongOrigin(c: WebContext, method: Route['method']): string | null {
  const site = c.req.header('sec-fetch-site')
  const origin = c.req.header('origin')
  const host = c.env.incoming.headers.host
  if (origin !== undefined && !isOrigin(origin, host)) return 'the request comes from another site'
  if (method === 'GET')
    return site === undefined || site === 'same-origin' || site === 'none'
      ? null
      : 'the request comes from another site'
  if (site === undefined && origin === undefined) return 'the request does not say where it comes from'
  return site === undefined || site === 'same-origin' ? null : 'the request comes from another site'
}

function isOrigin(origin: string, host: string | undefined): boolean {
  return (
    URL.canParse(origin) &&
    host !== undefined &&
    new URL(origin).host === new URL(`${new URL(origin).protocol}//${host}`).host
  )
}
