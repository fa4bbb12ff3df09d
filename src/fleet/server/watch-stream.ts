/** An answer that has a line for each change of the fleet, for those who look at it. A line names what should be looked at again. */

import { FLEET_TOPICS, type FleetTopic, type PeopleSide } from '../fleet.ts'

/** A line comes so often although nothing has changed, so that both ends notice if the other is gone. */
const IDLE_MS = 15_000
/** Then the client asks again, and with it its token is checked again. */
const LONGEST_MS = 600_000

export function watchStream(people: Pick<PeopleSide, 'watch'>, signal: AbortSignal, ended: () => void): Response {
  let end = () => {}
  // Nobody knows what has changed before.
  const missed = new Set<FleetTopic>(FLEET_TOPICS)
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const say = () => controller.enqueue(line(missed))
        const stop = people.watch((topics) => {
          for (const topic of topics) missed.add(topic)
          if (hasRoom(controller)) say()
        })
        const idle = setInterval(() => hasRoom(controller) && say(), IDLE_MS).unref()
        const longest = setTimeout(() => close(), LONGEST_MS).unref()
        const close = () => {
          end()
          controller.close()
        }
        end = () => {
          end = () => {}
          signal.removeEventListener('abort', close)
          clearInterval(idle)
          clearTimeout(longest)
          stop()
          ended()
        }
        say()
        if (signal.aborted) close()
        else signal.addEventListener('abort', close, { once: true })
      },
      // A reader that was slow gets one line about all that it has missed.
      pull(controller) {
        if (missed.size > 0) controller.enqueue(line(missed))
      },
      cancel: () => end(),
    },
    new CountQueuingStrategy({ highWaterMark: 2 }),
  )
  return new Response(body, { headers: { 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-store' } })
}

function hasRoom({ desiredSize }: ReadableStreamDefaultController): boolean {
  return (desiredSize ?? 0) > 0
}

function line(missed: Set<FleetTopic>): Uint8Array {
  const changed = [...missed]
  missed.clear()
  return Buffer.from(`${JSON.stringify({ at: Date.now(), changed })}\n`)
}
