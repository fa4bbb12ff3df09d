/** The addresses of agents. Each call carries the host of the token, so an agent speaks for its own host alone. */

import { Hono } from 'hono'
import * as z from 'zod'
import { asVmapipeError } from '../../core/errors.ts'
import type { AgentSide } from '../fleet.ts'
import { beat } from '../messages/beat.ts'
import { agentEvent, events } from '../messages/events.ts'
import { hello } from '../messages/hello.ts'
import { inventory, jobName } from '../messages/inventory.ts'
import { workAsked } from '../messages/work.ts'
import { type BodyRoom, LARGE_BYTES } from './body.ts'
import type { Env } from './gate.ts'
import { Refused } from './refused.ts'
import { answer, messageOf } from './routes.ts'

/** When the server stops, a long poll is answered after at most this many milliseconds, with works that it was just given or none. */
const STOPPING_MS = 300

interface Options {
  agents: AgentSide
  room: BodyRoom
  /** Aborted when the server stops. */
  stopping: AbortSignal
  warn: (line: string) => void
}

export function agentRoutes({ agents, room, stopping, warn }: Options): Hono<Env> {
  const app = new Hono<Env>()
  app.post('/hello', async (context) =>
    answer(context, await agents.hello(context.var.name, await messageOf(context, room, hello))),
  )
  app.post('/inventory', async (context) =>
    answer(context, await agents.inventory(context.var.name, await messageOf(context, room, inventory, LARGE_BYTES))),
  )
  app.post('/beat', async (context) =>
    answer(context, await agents.beat(context.var.name, await messageOf(context, room, beat))),
  )
  app.post('/work', async (context) => {
    const asked = await messageOf(context, room, workAsked)
    const signal = AbortSignal.any([stopping, context.req.raw.signal])
    const waiting = agents.work(context.var.name, asked, signal)
    return answer(context, { works: await untilStopped(waiting, signal) })
  })
  app.post('/events', async (context) => {
    const { events: all } = await messageOf(context, room, events, LARGE_BYTES)
    const known = all.map((one) => agentEvent.safeParse(one))
    const good = known.flatMap(({ data }) => data ?? [])
    // One that is not understood would come again for ever if it were not taken.
    const strange = all.flatMap((one, index) => (known[index].success ? [] : [idOf(one)])).filter((id) => id !== null)
    if (good.length < all.length)
      warn(`${all.length - good.length} events of ${context.var.name} are of no kind that this planner knows`)
    const taken = good.length === 0 ? [] : await agents.events(context.var.name, good)
    return answer(context, { taken: [...taken, ...strange] })
  })
  app.get('/jobs/:name', async (context) => {
    const name = jobName.safeParse(context.req.param('name'))
    const job = name.success ? await agents.centralJob(context.var.name, name.data) : null
    if (job === null) throw new Refused(404, 'there is no such central job for this host')
    return answer(context, job)
  })
  return app
}

const withId = z.object({ id: z.string().min(1).max(200) })

function idOf(event: unknown): string | null {
  return withId.safeParse(event).data?.id ?? null
}

/** The works; none if the wait was aborted. Works that were given at that very moment are not lost, as they are waited for a little longer. */
async function untilStopped<W>(waiting: Promise<W[]>, signal: AbortSignal): Promise<W[]> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<W[]>((resolve) => {
    const begin = () => {
      timer = setTimeout(() => resolve([]), STOPPING_MS)
    }
    if (signal.aborted) begin()
    else signal.addEventListener('abort', begin, { once: true })
  })
  const works = waiting.catch((error) => {
    if (signal.aborted && asVmapipeError(error).code === 'ABORTED') return []
    throw error
  })
  try {
    return await Promise.race([works, late])
  } finally {
    clearTimeout(timer)
  }
}
