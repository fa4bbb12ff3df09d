/** The addresses of people (messages/people.ts lists them). */

import { Hono } from 'hono'
import type { Fleet } from '../fleet.ts'
import { hostName } from '../messages/hello.ts'
import { jobName } from '../messages/inventory.ts'
import * as asked from '../messages/people.ts'
import { type BodyRoom, checkMessage } from './body.ts'
import type { Env } from './gate.ts'
import { Refused } from './refused.ts'
import { answer, done, messageOf, queryOf } from './routes.ts'
import { watchStream } from './watch-stream.ts'

interface Options {
  fleet: Pick<Fleet, 'people' | 'tokens'>
  room: BodyRoom
  stopping: AbortSignal
  /** Why central jobs cannot be written here, if they come from elsewhere. */
  jobsFrom: string | null
}

/** People who watch at once, in all. */
const MOST_WATCHERS = 100

export function peopleRoutes({ fleet: { people, tokens }, room, stopping, jobsFrom }: Options): Hono<Env> {
  const app = new Hono<Env>()
  app.get('/status', async (context) => answer(context, await people.status()))
  app.get('/hosts', async (context) => answer(context, await people.hosts()))
  app.get('/guests', async (context) => answer(context, await people.guests()))
  app.get('/jobs', async (context) => answer(context, await people.jobs()))
  app.get('/works', async (context) => answer(context, await people.works(queryOf(context, asked.worksFilter))))
  app.get('/archives', async (context) =>
    answer(context, await people.archives(queryOf(context, asked.archivesFilter))),
  )

  let watchers = 0
  app.get('/watch', (context) => {
    if (watchers >= MOST_WATCHERS) throw new Refused(429, 'too many people watch at once', { retryAfter: 30 })
    watchers++
    const signal = AbortSignal.any([stopping, context.req.raw.signal])
    return watchStream(people, signal, () => void watchers--)
  })

  app.post('/hosts/:host/drain', async (context) => {
    const { drained } = await messageOf(context, room, asked.drainAsked)
    await people.drain(checkMessage(hostName, context.req.param('host')), drained)
    return done()
  })
  app.delete('/hosts/:host', async (context) => {
    await people.forgetHost(checkMessage(hostName, context.req.param('host')))
    return done()
  })
  app.post('/start', async (context) =>
    answer(context, { works: await people.start(await messageOf(context, room, asked.startAsked)) }),
  )
  app.post('/verify', async (context) =>
    answer(context, { work: await people.verify(await messageOf(context, room, asked.verifyAsked)) }),
  )
  app.post('/prune', async (context) =>
    answer(context, { work: await people.prune(await messageOf(context, room, asked.pruneAsked)) }),
  )
  app.post('/cancel', async (context) => {
    const { work, reason } = await messageOf(context, room, asked.cancelAsked)
    await people.cancel(work, reason)
    return done()
  })
  app.post('/rescan', async () => {
    await people.rescan()
    return done()
  })

  const refuseIfFrom = () => {
    if (jobsFrom !== null)
      throw new Refused(400, `central jobs are the files in '${jobsFrom}' of the planner`, {
        hint: 'change them there, and send the planner SIGHUP',
      })
  }
  app.get('/central', async (context) => answer(context, await people.centralJobs()))
  app.put('/central/:name', async (context) => {
    refuseIfFrom()
    const { text } = await messageOf(context, room, asked.centralText)
    await people.putCentralJob(checkMessage(jobName, context.req.param('name')), text)
    return done()
  })
  app.delete('/central/:name', async (context) => {
    refuseIfFrom()
    await people.removeCentralJob(checkMessage(jobName, context.req.param('name')))
    return done()
  })

  app.get('/tokens', async (context) => answer(context, await tokens.list()))
  app.post('/tokens', async (context) =>
    answer(context, await tokens.make(await messageOf(context, room, asked.tokenAsked))),
  )
  app.delete('/tokens/:id', async (context) => {
    await tokens.revoke(checkMessage(asked.tokenId, context.req.param('id')))
    return done()
  })
  return app
}
