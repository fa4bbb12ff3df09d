/** Who listens to events, and who waits for one. */

import { VmapipeError } from '../../core/errors.ts'
import type { QmpEvent } from './message.ts'

export type EventListener = (event: QmpEvent) => void

/** Somebody waits for one event. */
export interface Wait {
  readonly event: string
  /** Nobody needs to look at it: where that which causes the event fails first, its rejection is nobody's concern. */
  readonly promise: Promise<QmpEvent>
  /** Whether it is over, with or without the event. */
  readonly isOver: boolean
  /** Its time limit begins; more than once is as once. */
  startClock(): void
  offer(event: QmpEvent): void
  fail(error: unknown): void
}

export class Events {
  readonly #listeners = new Set<EventListener>()
  readonly #waits = new Set<Wait>()

  /** Returns how to stop listening. */
  on(listener: EventListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  emit(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
    for (const wait of [...this.#waits]) wait.offer(event)
  }

  /** For the next event of this name whose data matches, `timeout` ms long once its clock was started. */
  wait(event: string, matches: (data: any) => boolean, timeout: number): Wait {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>()
    promise.catch(() => {})
    let timer: NodeJS.Timeout | undefined
    const waits = this.#waits
    const wait: Wait = {
      event,
      promise,
      get isOver() {
        return !waits.has(wait)
      },
      startClock: () => {
        if (waits.has(wait)) timer ??= setTimeout(late, timeout)
      },
      offer: (offered) => offered.event === event && matches(offered.data) && end(() => resolve(offered)),
      fail: (error) => end(() => reject(error)),
    }
    const end = (settle: () => void) => {
      clearTimeout(timer)
      waits.delete(wait)
      settle()
    }
    const late = () => wait.fail(new VmapipeError('FAILED', `QEMU did not report ${event} within ${timeout / 1000} s`))
    waits.add(wait)
    return wait
  }

  /** Whoever waits gets the error; nothing comes any more. */
  end(error: Error): void {
    for (const wait of [...this.#waits]) wait.fail(error)
    this.#listeners.clear()
  }
}
