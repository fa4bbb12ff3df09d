/**
 * What people ask the planner, by the command line and the page of a fleet:
 *
 *   GET    /people/v1/status, hosts, guests, jobs, central, tokens
 *   GET    /people/v1/works?host=&job=&guest=&since=&most=     the newest first
 *   GET    /people/v1/archives?host=&guest=
 *   GET    /people/v1/watch                                    a line for each change, with its topics, until the connection is closed
 *   POST   /people/v1/start, verify, prune, cancel, rescan
 *   POST   /people/v1/hosts/HOST/drain;  DELETE /people/v1/hosts/HOST
 *   PUT, DELETE /people/v1/central/NAME                        a central job
 *   POST   /people/v1/tokens;  DELETE /people/v1/tokens/ID
 */

import * as z from 'zod'
import { hostName } from './hello.ts'
import { guestName, jobName, placeText } from './inventory.ts'
import { workId } from './work.ts'

export const worksFilter = z.object({
  host: hostName.optional(),
  job: jobName.optional(),
  guest: guestName.optional(),
  since: z.iso.datetime({ offset: true }).optional(),
  most: z.coerce.number().int().min(1).max(10_000).default(100),
})

export const archivesFilter = z.object({ host: hostName.optional(), guest: guestName.optional() })

export const drainAsked = z.object({ drained: z.boolean() })

export const startAsked = z.object({
  host: hostName.optional(),
  job: jobName,
  guests: z.array(guestName).min(1).max(20_000).optional(),
  full: z.boolean().optional(),
})

export const verifyAsked = z.object({
  host: hostName,
  job: jobName,
  archive: placeText,
  boot: z.boolean().optional(),
})

export const pruneAsked = z.object({ host: hostName, job: jobName, guest: guestName.optional() })

export const cancelAsked = z.object({ work: workId, reason: z.string().min(1).max(500) })

/** A central job, as it is written. */
export const centralText = z.object({ text: z.string().max(256 << 10) })

/** Patterns of guests that a host may claim, such as `web-*`. */
const guestPattern = z.string().min(1).max(255)

/** People have names like hosts. */
export const tokenAsked = z.object({
  kind: z.enum(['agent', 'person']),
  name: hostName,
  guests: z.array(guestPattern).min(1).max(1000).optional(),
})

export const tokenId = z.string().regex(/^[A-Za-z0-9_-]{1,100}$/)
