/**
 * What the planner asks of an agent. This is the whole list. A request names a job that the host has, a guest that it has or an archive at
 * a place of its jobs: no command, no path, no address and no secret. An agent refuses everything else.
 */

import * as z from 'zod'
import { guestName, jobName, placeText } from './inventory.ts'

const time = z.iso.datetime({ offset: true })

/** Identifies a work. What is delivered twice is done once. */
export const workId = z.string().regex(/^[A-Za-z0-9._-]{1,100}$/)

const common = { id: workId, attempt: z.int().min(1) }

/** Backs up one guest by a job of the host. */
const run = z.object({
  ...common,
  kind: z.literal('run'),
  job: jobName,
  guest: guestName,
  /** When it was due. It is the time in the archive's name, so an archive that is there already means that this was done. */
  due: time,
  full: z.boolean().optional(),
  /** Somebody wants it now: the window of the job does not count. Older planners do not say it. */
  now: z.boolean().optional(),
})

/** Reads an archive of a place of the job's; `boot` boots its guest too. */
const verify = z.object({
  ...common,
  kind: z.literal('verify'),
  job: jobName,
  archive: placeText,
  boot: z.boolean().optional(),
})

/** Removes archives as the job's own rules say. */
const prune = z.object({ ...common, kind: z.literal('prune'), job: jobName, guest: guestName.optional() })

/** Ends a work. The guest is free within two seconds. */
const cancel = z.object({ ...common, kind: z.literal('cancel'), work: workId, reason: z.string().max(500) })

/** Sends the inventory again, and every archive that is at the places of its jobs. */
const report = z.object({ ...common, kind: z.literal('report'), archives: z.boolean() })

export const work = z.discriminatedUnion('kind', [run, verify, prune, cancel, report])
export type Work = z.infer<typeof work>
export type WorkKind = Work['kind']

/** POST /agent/v1/work: waits until there is work, for at most `wait` milliseconds. */
export const workAsked = z.object({
  /** Guests that it could begin now. */
  free: z.int().min(0).max(1000),
  wait: z.int().min(0).max(60_000),
})
export type WorkAsked = z.infer<typeof workAsked>

/** A list of one kind that this vmapipe does not know is refused one by one, so it is read as anything at first. */
export const workReply = z.object({ works: z.array(z.unknown()).max(1000) })
