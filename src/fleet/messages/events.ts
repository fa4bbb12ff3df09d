/**
 * What has happened on a host. An agent keeps its events on disk until the planner has taken them, so nothing is lost while the planner is
 * away; one that is sent twice counts once, by its id.
 */

import * as z from 'zod'
import { guestName, jobName, placeText } from './inventory.ts'
import { workId } from './work.ts'

const time = z.iso.datetime({ offset: true })
const common = { id: z.string().min(1).max(200), at: time }

/** A guest's backup has ended. `report` is a `GuestReport`. */
const ended = z.object({
  ...common,
  event: z.literal('ended'),
  /** Null for what the host began by its own schedule. */
  work: workId.nullable(),
  job: jobName,
  run: z.string().max(200),
  guest: guestName,
  started: time,
  outcome: z.enum(['done', 'failed', 'skipped', 'canceled']),
  /** The archive of this name was there already. */
  already: z.boolean().optional(),
  report: z.record(z.string(), z.unknown()),
})
export type EndedEvent = z.infer<typeof ended>

/** A work that is no backup has ended: verify, prune, report, cancel; or one was refused. */
const finished = z.object({
  ...common,
  event: z.literal('finished'),
  work: workId,
  outcome: z.enum(['done', 'failed', 'refused', 'canceled']),
  /** One line. */
  text: z.string().max(4000),
})

export const agentArchive = z.object({
  place: placeText,
  name: z.string().max(500),
  guest: guestName.nullable(),
  uuid: z.string().max(100),
  ctime: z.number(),
  kind: z.enum(['full', 'incremental']),
  parent: z.string().max(100).nullable(),
  size: z.number(),
  encrypted: z.boolean(),
  unreadable: z.string().max(2000).optional(),
  /** It is only that no key of the host opens it. Older agents do not tell it. */
  locked: z.boolean().optional(),
  /** When a locked one was written, as its own time is not known. A file may have any time; one that cannot be read costs no list. */
  written: time.optional().catch(undefined),
  protected: z.boolean(),
  notes: z
    .string()
    .max(64 << 10)
    .nullable(),
  checks: z.array(z.record(z.string(), z.unknown())).max(10),
})
export type AgentArchive = z.infer<typeof agentArchive>

/** The archives of a guest at one place: all of them, so what is not here is not there any more. Null for those of no known guest. */
const archives = z.object({
  ...common,
  event: z.literal('archives'),
  job: jobName,
  place: placeText,
  guest: guestName.nullable(),
  archives: z.array(agentArchive).max(10_000),
})
export type ArchivesEvent = z.infer<typeof archives>

export const agentEvent = z.discriminatedUnion('event', [ended, finished, archives])
export type AgentEvent = z.infer<typeof agentEvent>

/** POST /agent/v1/events. Events of a kind that is not known are taken and left out. */
export const events = z.object({ events: z.array(z.unknown()).max(1000) })
export const eventsReply = z.object({ taken: z.array(z.string()) })
