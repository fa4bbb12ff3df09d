/**
 * Reads what an agent of another version says: fields that are not known are left out, and events of a kind that is not known are taken and
 * left out, so that the agent need not keep them for ever.
 */

import * as z from 'zod'
import { type AgentEvent, agentEvent } from '../messages/events.ts'

const anyEvent = z.object({ id: z.string().min(1).max(200) })

export interface ReadEvents {
  events: AgentEvent[]
  /** Ids of those that nobody can read: taken. */
  unread: string[]
}

export function readEvents(said: readonly unknown[]): ReadEvents {
  const events: AgentEvent[] = []
  const unread: string[] = []
  for (const one of said) {
    const read = agentEvent.safeParse(one)
    if (read.success) events.push(read.data)
    else {
      const { data } = anyEvent.safeParse(one)
      if (data !== undefined) unread.push(data.id)
    }
  }
  return { events, unread }
}
