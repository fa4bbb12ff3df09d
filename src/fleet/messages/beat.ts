/** Heartbeats: which works a host is at, and how far they are. */

import * as z from 'zod'
import { guestName, jobName } from './inventory.ts'
import { workId } from './work.ts'

/** How a guest's backup is doing, as `GuestProgress` of the host's vmapipe: shown, never decided by. */
const progress = z.record(z.string(), z.unknown())

const runningWork = z.object({
  /** Null for what the host began by its own schedule. */
  id: workId.nullable(),
  job: jobName,
  guest: guestName.nullable(),
  since: z.iso.datetime({ offset: true }),
  /** Places that it writes to, so that limits count what the planner did not begin. */
  places: z.array(z.string().max(2000)).max(50),
  /** Sent if somebody looks (`closer`). */
  progress: progress.nullable(),
})
export type RunningWork = z.infer<typeof runningWork>

/** POST /agent/v1/beat */
export const beat = z.object({
  incarnation: z.string().max(100),
  clock: z.number(),
  running: z.array(runningWork).max(1000),
})
export type Beat = z.infer<typeof beat>

export const beatReply = z.object({
  drained: z.boolean(),
  /** Somebody looks at this host: beat each second, with progress. */
  closer: z.boolean(),
  /** Works that the host names and the planner gave up: they are ended. */
  stop: z.array(workId),
  /** Central jobs have changed: send the inventory. */
  jobsChanged: z.boolean(),
  /** What of this host was left out, and why: one line each. */
  warnings: z.array(z.string().max(1000)).max(100).default([]),
})
export type BeatReply = z.infer<typeof beatReply>
