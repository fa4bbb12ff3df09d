/** A planner that is made up: a server that says what the test wants, and notes what the agent says. */

import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Beat } from '../../../src/fleet/messages/beat.ts'
import type { AgentEvent } from '../../../src/fleet/messages/events.ts'
import type { Hello } from '../../../src/fleet/messages/hello.ts'
import type { Inventory } from '../../../src/fleet/messages/inventory.ts'

export const TOKEN = 'a-token-of-the-test'

type Said = Record<string, unknown>

export class MadePlanner {
  readonly hellos: Hello[] = []
  readonly inventories: Inventory[] = []
  readonly beats: Beat[] = []
  readonly events: AgentEvent[] = []
  /** How often each event came. */
  readonly times = new Map<string, number>()
  readonly refused: number[] = []
  readonly central = new Map<string, { name: string; digest: string; text: string }>()
  /** Works that are given at the next request. */
  works: unknown[] = []
  stop: string[] = []
  warnings: string[] = []
  closer = false
  drained = false
  /** Connections are cut. */
  isAway = false
  /** What another planner would answer: by path. */
  readonly answers = new Map<string, (said: Said, response: ServerResponse) => void>()
  takes = true
  readonly #server = createServer((request, response) => void this.#answer(request, response))
  #wake: () => void = () => {}

  async listen(port = 0): Promise<void> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
    this.#wake()
  }

  leave(): void {
    this.isAway = true
    this.#server.closeAllConnections()
    this.#wake()
  }

  give(...works: unknown[]): void {
    this.works.push(...works)
    this.#wake()
  }

  ended(): Extract<AgentEvent, { event: 'ended' }>[] {
    return this.events.flatMap((event) => (event.event === 'ended' ? [event] : []))
  }

  finished(work: string): Extract<AgentEvent, { event: 'finished' }> | undefined {
    return this.events.flatMap((event) => (event.event === 'finished' && event.work === work ? [event] : []))[0]
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.isAway) return void request.socket.destroy()
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const reply = (status: number, body: unknown) => {
      if (status !== 200) this.refused.push(status)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return reply(401, { error: { message: 'no such token' } })
    const path = request.url!.replace('/agent/v1/', '')
    const said = pieces.length === 0 ? {} : JSON.parse(Buffer.concat(pieces).toString())
    const own = this.answers.get(path)
    if (own !== undefined) return own(said, response)
    if (path.startsWith('jobs/')) {
      const job = this.central.get(decodeURIComponent(path.slice('jobs/'.length)))
      return job === undefined ? reply(404, { error: { message: 'no such job' } }) : reply(200, job)
    }
    switch (path) {
      case 'hello':
        this.hellos.push(said)
        return reply(200, { protocol: 1, host: 'host-1', heartbeat: 200, drained: this.drained })
      case 'inventory':
        this.inventories.push(said)
        return reply(200, { central: [...this.central.values()].map(({ name, digest }) => ({ name, digest })) })
      case 'beat':
        this.beats.push(said)
        return reply(200, {
          ...{ drained: this.drained, closer: this.closer, jobsChanged: false, warnings: this.warnings },
          stop: this.stop.splice(0),
        })
      case 'events':
        return reply(200, { taken: this.#take(said.events) })
      case 'work': {
        if (this.works.length === 0) await this.#wait(said.wait)
        // An agent that has died takes nothing with it.
        if (this.isAway || request.socket.destroyed) return void request.socket.destroy()
        return reply(200, { works: this.works.splice(0) })
      }
      default:
        return reply(404, {})
    }
  }

  #take(events: AgentEvent[]): string[] {
    for (const event of events) {
      const times = this.times.get(event.id) ?? 0
      this.times.set(event.id, times + 1)
      if (this.takes && !this.events.some(({ id }) => id === event.id)) this.events.push(event)
    }
    return this.takes ? events.map(({ id }) => id) : []
  }

  #wait(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    // Who waits may have been killed.
    const timer = setTimeout(resolve, milliseconds).unref()
    return promise.finally(() => clearTimeout(timer))
  }
}

/** Looks until it is so; the test's own limit ends it. */
export async function until<T>(look: () => T | Promise<T>): Promise<Exclude<NonNullable<T>, false>> {
  for (;;) {
    const found = await look()
    if (found) return found as Exclude<NonNullable<T>, false>
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
