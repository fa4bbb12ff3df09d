/** Tells the code that runs a pipeline how its guest is doing. */

import type { BoundStage } from '../../core/stage.ts'
import { GUEST_SOURCE } from '../../stages/write-interceptor.ts'
import type { GuestListener, GuestOptions } from './options.ts'

/** The same stages; their guest-source tells `listener`, and the one that it had. */
export function listenTo(stages: readonly BoundStage[], listener: GuestListener): BoundStage[] {
  return stages.map((stage) => {
    if (stage.definition.name !== GUEST_SOURCE) return stage
    const options = stage.options as GuestOptions
    return { ...stage, options: { ...options, listener: both(options.listener, listener) } }
  })
}

function both(first: GuestListener | undefined, second: GuestListener): GuestListener {
  if (first === undefined) return second
  return {
    name(text) {
      first.name?.(text)
      second.name?.(text)
    },
    status(status) {
      first.status?.(status)
      second.status?.(status)
    },
    // Counting costs a question every second: only if somebody wants to know.
    ...((first.writes ?? second.writes) && {
      writes(times) {
        first.writes?.(times)
        second.writes?.(times)
      },
    }),
    end(status) {
      first.end?.(status)
      second.end?.(status)
    },
  }
}
