/** The link to the planner: whether it is there, since when it is not, and what it has said of itself. */

import { randomUUID } from 'node:crypto'
import { printable, VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import { type Hello, type HelloReply, helloReply } from '../messages/hello.ts'
import { OLDEST_PROTOCOL, PROTOCOL } from '../messages/version.ts'
import type { Timing } from './options.ts'
import { type PlannerClient, PlannerError } from './planner-client.ts'

/** A planner in its right mind has a handful of them. */
const MOST_TOLD = 100

interface LinkOptions {
  client: PlannerClient
  version: string
  labels: readonly string[]
  parallel: number
  timing: Timing
  log: (level: 'info' | 'warning', text: string) => void
}

export class Link {
  readonly incarnation = randomUUID()
  readonly client: PlannerClient
  readonly #options: LinkOptions
  #reply: HelloReply | null = null
  /** When the planner was lost, in milliseconds since 1970; null while it is there. */
  #awaySince: number | null = Date.now()
  #problem: string | null = null
  readonly #told = new Set<string>()
  #changed = Promise.withResolvers<void>()
  isDrained = false

  constructor(options: LinkOptions) {
    this.#options = options
    this.client = options.client
  }

  get isUp(): boolean {
    return this.#awaySince === null
  }

  /** Null before the first answer. */
  get reply(): HelloReply | null {
    return this.#reply
  }

  /** Milliseconds for which the planner has been away; 0 if it is there. */
  get away(): number {
    return this.#awaySince === null ? 0 : Date.now() - this.#awaySince
  }

  /** Says hello once. Errors: PlannerError, ABORTED. */
  async hello(signal: AbortSignal): Promise<HelloReply> {
    const { labels, parallel } = this.#options
    const said: Hello = {
      protocol: PROTOCOL,
      version: this.#options.version,
      labels: [...labels],
      zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      parallel,
      clock: Date.now(),
      incarnation: this.incarnation,
    }
    const reply = await this.client.post('/agent/v1/hello', said, helloReply, { signal })
    if (reply.protocol < OLDEST_PROTOCOL || reply.protocol > PROTOCOL) {
      throw new PlannerError(
        `the planner speaks protocol ${reply.protocol}, and this agent ${OLDEST_PROTOCOL} to ${PROTOCOL}: update the older of them`,
        false,
      )
    }
    return reply
  }

  /** Says hello until it is answered, at ever longer times, and again each time that the planner was lost. */
  async keep(signal: AbortSignal): Promise<void> {
    const { retry, longestRetry } = this.#options.timing
    while (!signal.aborted) {
      let wait = retry
      while (!this.isUp && !signal.aborted) {
        try {
          this.#up(await this.hello(signal))
        } catch (error) {
          if (signal.aborted) return
          this.lost(error as Error)
          // A planner that comes back is not met by all hosts at once.
          await sleepUntilAborted(wait * (0.5 + Math.random()), signal).catch(() => {})
          wait = Math.min(longestRetry, wait * 2)
        }
      }
      await this.changed(signal)
    }
  }

  #up(reply: HelloReply): void {
    this.#reply = reply
    this.isDrained = reply.drained
    this.#awaySince = null
    this.#problem = null
    this.#options.log(
      'info',
      `the planner is there; this host is '${reply.host}'${reply.drained ? ', and it is drained' : ''}`,
    )
    this.#tellChange()
  }

  /** The planner has left out something of this host. Each line is logged once for each start of the agent. */
  warned(lines: readonly string[]): void {
    for (const line of lines) {
      if (this.#told.has(line) || this.#told.size >= MOST_TOLD) continue
      this.#told.add(line)
      this.#options.log('warning', `the planner: ${printable(line)}`)
    }
  }

  /** A request has failed: until the next hello is answered the host is on its own. */
  lost(error: Error): void {
    const text = error.message
    if (text !== this.#problem) this.#options.log('warning', text)
    this.#problem = text
    if (this.#awaySince !== null) return
    this.#awaySince = Date.now()
    this.#tellChange()
  }

  /** Resolves when the planner was found or lost, or `signal` is aborted. */
  async changed(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const { promise } = this.#changed
    const ended = Promise.withResolvers<void>()
    const end = () => ended.resolve()
    signal.addEventListener('abort', end, { once: true })
    await Promise.race([promise, ended.promise])
    signal.removeEventListener('abort', end)
  }

  #tellChange(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  /** Does a request while the planner is there; null if it failed, and then the planner counts as lost. Errors: ABORTED. */
  async ask<T>(signal: AbortSignal, request: () => Promise<T>): Promise<T | null> {
    try {
      return await request()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof VmapipeError)) throw error
      this.lost(error)
      return null
    }
  }
}
