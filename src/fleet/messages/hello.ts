/** How an agent introduces its host, and what it is answered. */

import * as z from 'zod'

/** The name of a host: as in a domain name, or short. */
export const hostName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/)

/** A word by which job files name hosts, such as `rack-2` or `zone=berlin`. */
export const label = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._=/-]{0,99}$/)

/** POST /agent/v1/hello: when an agent starts, and when it has lost the planner. */
export const hello = z.object({
  /** The newest protocol that the agent speaks. */
  protocol: z.int().min(1),
  /** The version of its vmapipe, for people. */
  version: z.string().max(100),
  labels: z.array(label).max(100),
  /** The zone in which the windows of its jobs are meant, such as Europe/Berlin. */
  zone: z.string().max(100),
  /** Guests at once on this host. */
  parallel: z.int().min(1).max(1000),
  /** Its clock, in milliseconds since 1970. */
  clock: z.number(),
  /** A new one for each start of the agent: works of an earlier start that it does not name have died with it. */
  incarnation: z.string().max(100),
})
export type Hello = z.infer<typeof hello>

export const helloReply = z.object({
  /** The protocol that both speak. */
  protocol: z.int(),
  /** The host that the token is for. */
  host: hostName,
  /** Milliseconds between two heartbeats. A host that is silent for three of them counts as gone. */
  heartbeat: z.int().min(100),
  /** Whether new work is kept from it. */
  drained: z.boolean(),
})
export type HelloReply = z.infer<typeof helloReply>
