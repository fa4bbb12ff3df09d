/** How long a guest may wait, as an option of a stage. It stands apart from duration.ts, so that commands start without zod. */

import * as z from 'zod'
import { DURATION, LONGEST_WAIT, parseDuration, SHORTEST_WAIT } from './duration.ts'

/** How long a guest may wait, in an option: text such as `10s`, or a number of seconds; gives milliseconds, from 100 ms to an hour. */
export function waitDuration() {
  const error = ({ input }: { input?: unknown }) =>
    `expected a time such as 10s, from 100ms to 60m, got ${JSON.stringify(input)}`
  const text = z.string({ error }).regex(DURATION, { error })
  const number = z.number({ error }).nonnegative({ error })
  return z.union([text, number], { error }).transform((value, context) => {
    const milliseconds = parseDuration(String(value))
    if (milliseconds !== undefined && milliseconds >= SHORTEST_WAIT && milliseconds <= LONGEST_WAIT) return milliseconds
    context.issues.push({ code: 'custom', input: value, message: error({ input: value }) })
    return z.NEVER
  })
}
