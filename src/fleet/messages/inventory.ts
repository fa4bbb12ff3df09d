/** What a host has: its guests, its jobs and the places that they write to. Names of guests are hostile: anything that a hypervisor takes. */

import * as z from 'zod'

const time = z.iso.datetime({ offset: true })
export const guestName = z.string().min(1).max(255)
export const jobName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)
export const placeText = z.string().min(1).max(2000)

export const agentGuest = z.object({
  name: guestName,
  /** Where it is found, for people, such as `libvirt::web01`. */
  source: z.string().max(2000),
  /** What makes it the same guest on another host: its uuid, if it has one. */
  identity: z.string().max(200).nullable(),
  /** Null if nobody knows. */
  running: z.boolean().nullable(),
  /** The jobs of this host and the central ones that it is in; none if it is unprotected. */
  jobs: z.array(jobName).max(100),
  /** When its last good backup was made, at all required places; null if there is none. */
  lastGood: time.nullable(),
  /** Bytes of its drives; seconds and bytes of its last backup. */
  size: z.number().nullable(),
  seconds: z.number().nullable(),
  stored: z.number().nullable(),
})
export type AgentGuest = z.infer<typeof agentGuest>

const agentPlace = z.object({
  place: placeText,
  /** The storage that it is on (`storage` of the job file), which other hosts may write to by other names; null if none is named. */
  storage: z.string().max(200).nullable(),
  /** Guests that are written there at once, from all hosts; null if nothing limits it. */
  parallel: z.int().min(1).nullable(),
  /** How many archives of each guest the job keeps there, for the plan of a prune; null for all of them. */
  keep: z
    .record(z.string().max(20), z.union([z.number(), z.string().max(50)]))
    .nullable()
    .default(null),
})
export type AgentPlace = z.infer<typeof agentPlace>

export const agentJob = z.object({
  name: jobName,
  /** Whether it came from the planner. */
  central: z.boolean(),
  description: z.string().max(1000).nullable(),
  schedule: z.array(z.string().max(200)).max(50),
  /** The next times, as the host reads its schedule. */
  next: z.array(time).max(20),
  /** The part of the day in which guests are begun, in the zone of the host, such as 22:00-06:00. */
  window: z.string().max(50).nullable(),
  places: z.array(agentPlace).max(50),
  guests: z.array(guestName).max(20_000),
  /** Seconds after which a guest's last good backup is older than the job promises; null if it promises nothing. */
  promise: z.number().nullable(),
  /** Why it cannot be run, if it cannot. */
  problem: z.string().max(2000).nullable(),
})
export type AgentJob = z.infer<typeof agentJob>

/** POST /agent/v1/inventory: at first, whenever it has changed, and every ten minutes. It replaces what was known of the host. */
export const inventory = z.object({
  at: time,
  guests: z.array(agentGuest).max(20_000),
  jobs: z.array(agentJob).max(1000),
  /** What could not be looked at. */
  warnings: z.array(z.string().max(2000)).max(1000),
})
export type Inventory = z.infer<typeof inventory>

/** The reply: the central jobs of this host, by their digests; it asks for the texts that it lacks. */
export const inventoryReply = z.object({
  central: z.array(z.object({ name: jobName, digest: z.string() })),
})
export type InventoryReply = z.infer<typeof inventoryReply>

/** GET /agent/v1/jobs/NAME: the text of a central job. It is a job file without anything that is run. */
export const centralJob = z.object({ name: jobName, digest: z.string(), text: z.string().max(256 << 10) })
export type CentralJob = z.infer<typeof centralJob>
