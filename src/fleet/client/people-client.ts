/** The planner as people ask it from another process: the same interface as within the planner itself. */

import { createInterface } from 'node:readline'
import { VmapipeError } from '../../core/errors.ts'
import { isObject } from '../../protocol/json.ts'
import { FLEET_TOPICS, type FleetTopic, type PeopleSide, type TokenSide } from '../fleet.ts'
import { type Asked, type PlannerPlace, Transport } from './transport.ts'

const ALL: ReadonlySet<FleetTopic> = new Set(FLEET_TOPICS)

const BASE = '/people/v1'

/** After the planner has gone away, it is looked for again each so many milliseconds. */
const AGAIN_MS = 2000

export class PeopleClient implements PeopleSide, Omit<TokenSide, 'check'> {
  readonly #transport: Transport
  readonly #signal: AbortSignal | undefined

  /** Requests end when the signal is aborted. */
  constructor(place: PlannerPlace, { signal }: { signal?: AbortSignal } = {}) {
    this.#transport = new Transport(place)
    this.#signal = signal
  }

  status: PeopleSide['status'] = () => this.#object('/status')
  hosts: PeopleSide['hosts'] = () => this.#list('/hosts')
  guests: PeopleSide['guests'] = () => this.#list('/guests')
  jobs: PeopleSide['jobs'] = () => this.#list('/jobs')
  centralJobs: PeopleSide['centralJobs'] = () => this.#list('/central')
  works: PeopleSide['works'] = (filter) => this.#list(`/works${query(filter)}`)
  archives: PeopleSide['archives'] = (filter) => this.#list(`/archives${query(filter)}`)

  async drain(host: string, drained: boolean): Promise<void> {
    await this.#ask('POST', `/hosts/${encodeURIComponent(host)}/drain`, { drained })
  }

  async forgetHost(host: string): Promise<void> {
    await this.#ask('DELETE', `/hosts/${encodeURIComponent(host)}`)
  }

  async start(asked: Parameters<PeopleSide['start']>[0]): Promise<string[]> {
    return (await this.#object<{ works: string[] }>('/start', asked)).works
  }

  async verify(asked: Parameters<PeopleSide['verify']>[0]): Promise<string> {
    return (await this.#object<{ work: string }>('/verify', asked)).work
  }

  async prune(asked: Parameters<PeopleSide['prune']>[0]): Promise<string> {
    return (await this.#object<{ work: string }>('/prune', asked)).work
  }

  async cancel(work: string, reason: string): Promise<void> {
    await this.#ask('POST', '/cancel', { work, reason })
  }

  async rescan(): Promise<void> {
    await this.#ask('POST', '/rescan', {})
  }

  async putCentralJob(name: string, text: string): Promise<void> {
    await this.#ask('PUT', `/central/${encodeURIComponent(name)}`, { text })
  }

  async removeCentralJob(name: string): Promise<void> {
    await this.#ask('DELETE', `/central/${encodeURIComponent(name)}`)
  }

  make(asked: Parameters<TokenSide['make']>[0]): Promise<{ id: string; text: string }> {
    return this.#object('/tokens', asked)
  }

  list(): ReturnType<TokenSide['list']> {
    return this.#list('/tokens')
  }

  async revoke(id: string): Promise<void> {
    await this.#ask('DELETE', `/tokens/${encodeURIComponent(id)}`)
  }

  /** Goes on after the planner was away. */
  watch(changed: Parameters<PeopleSide['watch']>[0]): () => void {
    const ended = new AbortController()
    const signal = this.#signal === undefined ? ended.signal : AbortSignal.any([ended.signal, this.#signal])
    void this.#watch(changed, signal)
    return () => ended.abort()
  }

  async #watch(changed: Parameters<PeopleSide['watch']>[0], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const response = await this.#transport.open({ method: 'GET', path: `${BASE}/watch`, signal })
        for await (const line of createInterface({ input: response })) {
          const topics = topicsOf(line)
          if (topics.size > 0) changed(topics)
        }
      } catch {
        // Those who look are told by what they ask next.
        if (!signal.aborted) changed(ALL)
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, signal.aborted ? 0 : AGAIN_MS)
        const end = () => {
          clearTimeout(timer)
          resolve()
        }
        signal.addEventListener('abort', end, { once: true })
      })
    }
  }

  #ask(method: Asked['method'], path: string, body?: unknown): Promise<unknown> {
    return this.#transport.ask({ method, path: `${BASE}${path}`, body, signal: this.#signal })
  }

  async #list<T extends unknown[]>(path: string): Promise<T> {
    const value = await this.#ask('GET', path)
    if (!Array.isArray(value)) throw this.#strange()
    return value as T
  }

  async #object<T>(path: string, body?: unknown): Promise<T> {
    const value = await this.#ask(body === undefined ? 'GET' : 'POST', path, body)
    if (!isObject(value)) throw this.#strange()
    return value as T
  }

  #strange(): VmapipeError {
    return new VmapipeError('FAILED', `the answer of ${this.#transport.name} is not that of a planner of this version`)
  }
}

/** A planner of an earlier version names none: then it may be any. */
function topicsOf(line: string): ReadonlySet<FleetTopic> {
  const told: unknown = JSON.parse(line)
  const changed = isObject(told) ? told.changed : undefined
  return Array.isArray(changed) ? new Set(FLEET_TOPICS.filter((topic) => changed.includes(topic))) : ALL
}

function query(filter: Record<string, string | number | undefined>): string {
  const pairs = new URLSearchParams()
  for (const [key, value] of Object.entries(filter)) if (value !== undefined) pairs.append(key, String(value))
  return pairs.size === 0 ? '' : `?${pairs}`
}
