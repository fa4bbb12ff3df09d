/**
 * What the planner answers if it does not do what it was asked, to agents and people alike, with the status of HTTP:
 *
 *   400  the message makes no sense, or names what is not there (USAGE, CONFIG)
 *   401  no token, or none that is valid here
 *   403  a token of the other kind: an agent's token opens nothing of people's, and the other way round
 *   404  there is no such address
 *   413  the message is too long
 *   429  too many wrong tokens from this address; Retry-After says for how many seconds
 *   503  the database is away, or the planner stops: try again
 *
 * A client that reads another answer than JSON of this form does not talk to a planner.
 */

import * as z from 'zod'

export const refusal = z.object({
  /** One line: what is wrong. */
  error: z.string().max(4000),
  /** What can be done about it. */
  hint: z.string().max(4000).optional(),
  /** Of an error of the planner itself (EXIT_CODES of core/errors.ts). */
  code: z.string().max(50).optional(),
})
export type Refusal = z.infer<typeof refusal>
