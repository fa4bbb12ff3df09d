/** Who listens to events, and who waits for one. */

import { VmapipeError } from '../../core/errors.ts'
import type { QmpEvent } from './message.ts'

export type EventListener = (event: QmpEvent) => void

export class Events {
  readonly #listeners = new Set<EventListener>()
  readonly #waits = new Set<(error: Error) => void>()

  /** Returns how to stop listening. */
  on(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  emit(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
  }

  /**
   * The next event of this name whose data matches, within `timeout` ms. Nobody needs to look at the promise: where
   * that which causes the event fails first, a rejection of the wait is nobody's concern.
   */
  wait(name: string, matches: (data: any) => boolean, timeout: number): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>()
    promise.catch(() => {})
    const late = () => reject(new VmapipeError('FAILED', `QEMU did not report ${name} within ${timeout / 1000} s`))
    const timer = setTimeout(late, timeout)
    const off = this.on((event) => event.event === name && matches(event.data) && resolve(event))
    this.#waits.add(reject)
    const over = () => {
      clearTimeout(timer)
      off()
      this.#waits.delete(reject)
    }
    promise.then(over, over)
    return promise
  }

  /** Whoever waits gets the error; nothing comes any more. */
  end(error: Error): void {
    for (const reject of [...this.#waits]) reject(error)
    this.#listeners.clear()
  }
}
