/** What the house shows, and what changes in it. */

import { QUERIES } from '../action-schema.ts'
import { json, queryOf, Refusal } from '../answers.ts'
import { goesOn } from '../asker.ts'
import { type Route, sessionOf, type Web, type WebContext } from '../web.ts'

export const viewRoutes: readonly Route[] = [
  view('/api/now', async (c, { house }) => (queryOf(c, QUERIES.none), house.now())),
  view('/api/guests', async (c, { house }) => (queryOf(c, QUERIES.none), house.guests())),
  view('/api/guest', async (c, { house }) => {
    const { host, guest } = queryOf(c, QUERIES.guest)
    return house.guest(host, guest)
  }),
  view('/api/jobs', async (c, { house }) => (queryOf(c, QUERIES.none), house.jobs())),
  view('/api/hosts', async (c, { house }) => (queryOf(c, QUERIES.none), house.hosts())),
  view('/api/archives', async (c, { house }) => house.archives(queryOf(c, QUERIES.archives))),
  view('/api/content', async (c, { house }) => {
    const { host, archive } = queryOf(c, QUERIES.archive)
    return house.content(host, archive)
  }),
  view('/api/runs', async (c, { house }) => house.runs(queryOf(c, QUERIES.runs))),
  view('/api/run-days', async (c, { house }) => house.runDays(queryOf(c, QUERIES.runDays))),
  view('/api/report', async (c, { house }) => {
    const { host, job, run } = queryOf(c, QUERIES.report)
    return house.report(host, job, run)
  }),
  { method: 'GET', path: '/api/events', need: 'look', handle: events },
]

function view(path: Route['path'], show: (c: WebContext, web: Web) => Promise<unknown>): Route {
  return { method: 'GET', path, need: 'look', handle: async (c, web) => json(c, await show(c, web)) }
}

/** The stream is pulled by the connection: as long as the browser does not read, nothing is made for it. */
async function events(c: WebContext, web: Web): Promise<Response> {
  const { session, proxied } = c.get('asker')
  const { id, ended } = sessionOf(c)
  const leave = web.limits.events.enter(id)
  if (leave === null)
    throw new Refusal(429, 'TOO_MANY', 'this page is open too often', { hint: 'close one', 'retry-after': '30' })
  const reader = web.changes.open(c.req.header('last-event-id'))
  const end = () => {
    reader.close()
    leave()
    ended.signal.removeEventListener('abort', end)
  }
  ended.signal.addEventListener('abort', end)
  const bytes = new TextEncoder()
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const text = await reader.next().catch(() => null)
        if (text !== null && !web.sessions.hasExpired(session!) && (await goesOn(session!, web, proxied)))
          return controller.enqueue(bytes.encode(text))
        end()
        controller.close()
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  )
  return new Response(stream, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // Proxies keep nothing back.
      'x-accel-buffering': 'no',
      'transfer-encoding': 'chunked',
    },
  })
}
