/** The events of one QMP connection: callers listen to all of them, or wait for one. */

import { VmapipeError } from '../../core/errors.ts'
import type { Json } from '../json.ts'
import type { QmpEvent } from './message.ts'

export type EventListener = (event: QmpEvent) => void

/** Waits for one event. */
interface Wait {
  offer(event: QmpEvent): void
  fail(error: unknown): void
}

export class Events {
  readonly #listeners = new Set<EventListener>()
  readonly #waits = new Set<Wait>()

  /** Returns a function that stops listening. */
  on(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  emit(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
    for (const wait of [...this.#waits]) wait.offer(event)
  }

  /**
   * Resolves with the next event of this name whose data matches; FAILED after `timeout` milliseconds. A caller whose command
   * fails need not await the promise: its rejection is never unhandled.
   */
  wait(event: string, matches: (data: Json) => boolean, timeout: number): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>()
    promise.catch(() => {})
    const wait: Wait = {
      offer: (offered) => offered.event === event && matches(offered.data) && end(() => resolve(offered)),
      fail: (error) => end(() => reject(error)),
    }
    const late = () => wait.fail(new VmapipeError('FAILED', `QEMU did not report ${event} within ${timeout / 1000} s`))
    const timer = setTimeout(late, timeout)
    const end = (settle: () => void) => {
      clearTimeout(timer)
      this.#waits.delete(wait)
      settle()
    }
    this.#waits.add(wait)
    return promise
  }

  /** Fails all waits with `error`; no listener is called any more. */
  end(error: Error): void {
    for (const wait of [...this.#waits]) wait.fail(error)
    this.#listeners.clear()
  }
}
