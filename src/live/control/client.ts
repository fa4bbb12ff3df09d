/** A client of the control socket: asks a service for its status, or for a backup. */

import { request as httpRequest, type IncomingMessage } from 'node:http'
import { VmapipeError } from '../../core/errors.ts'
import { isObject } from '../../protocol/json.ts'
import { SharedMemory } from '../../system/shared-memory.ts'
import type { ServiceStatus } from './controlled-service.ts'
import { connectionError, type Refusal } from './exchange.ts'
import { ClusterFeed } from './handover/cluster-feed.ts'

export interface BackupWish {
  drives?: string[]
  /** Contents by name. */
  configs?: Record<string, Uint8Array>
  buffer?: number
  /** Milliseconds. */
  maxStall?: number
  bwlimit?: number
  uuid?: string
  /** Uuid of the parent: what has not changed since is left out. */
  since?: string
  /** Names of drives of which nothing is left out. */
  whole?: string[]
}

/** The largest answer in bytes. */
const MAX_ANSWER = 16 << 20

/** The part of the service's memory that may be held without a copy. The rest is for its scan and for bursts of the guest. */
const HELD_PART = 1 / 8

/** Milliseconds within which a service has to answer. */
const STATUS_MS = 10_000

export class ControlClient {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  async status(signal?: AbortSignal): Promise<ServiceStatus> {
    const limit = AbortSignal.timeout(STATUS_MS)
    const response = await this.#ask('GET', '/status', signal === undefined ? limit : AbortSignal.any([limit, signal]))
    const text = await this.#text(response).catch((error) => {
      throw connectionError(this.#path, error)
    })
    if (response.statusCode !== 200) throw this.#refused({ status: response.statusCode!, text })
    const status = parsed(text)
    if (isObject(status)) return status as unknown as ServiceStatus
    throw new VmapipeError('FAILED', 'the answer is not that of a service', { file: this.#path })
  }

  /**
   * Resolves with the clusters once the point in time is set: in the service's memory if this process can share it, otherwise
   * inline. FAILED or USAGE if the service refuses.
   */
  async backup(wish: BackupWish, signal?: AbortSignal): Promise<ClusterFeed> {
    const request = { path: this.#path, target: targetOf(wish), text: bodyOf(wish), signal }
    const shared = await this.#sharedMemory(signal)
    if (shared !== null) {
      const { memory } = shared
      const mostHeld = Math.min(wish.buffer ?? memory.memory.length, memory.memory.length) * HELD_PART
      try {
        const answer = await ClusterFeed.request({ ...request, shared, mostHeld })
        if (answer instanceof ClusterFeed) return answer
        // A backup has ended since the service told its memory, which is another one now.
        if (answer.status !== 412) throw this.#refused(answer)
      } catch (error) {
        memory.close()
        throw error
      }
      memory.close()
    }
    const answer = await ClusterFeed.request({ ...request, shared: null })
    if (answer instanceof ClusterFeed) return answer
    throw this.#refused(answer)
  }

  /** Gives up the backup that runs; false if none does. */
  async abort(signal?: AbortSignal): Promise<boolean> {
    const limit = AbortSignal.timeout(STATUS_MS)
    const response = await this.#ask(
      'DELETE',
      '/backup',
      signal === undefined ? limit : AbortSignal.any([limit, signal]),
    )
    const text = await this.#text(response).catch((error) => {
      throw connectionError(this.#path, error)
    })
    const status = response.statusCode!
    if (status !== 204 && status !== 404) throw this.#refused({ status, text })
    return status === 204
  }

  /** Changes what is scanned a second, in bytes; Infinity for no limit. False if no backup runs, or the service cannot. */
  async limit(bytes: number): Promise<boolean> {
    const rate = Number.isFinite(bytes) ? String(Math.max(1, Math.round(bytes))) : 'none'
    const response = await this.#ask('PATCH', `/backup?bwlimit=${rate}`, AbortSignal.timeout(STATUS_MS))
    await this.#text(response)
    return response.statusCode === 204
  }

  /** Null if the service has none, or this process may not share it. A service that is not there shows in the request. */
  async #sharedMemory(signal?: AbortSignal): Promise<{ memory: SharedMemory; inode: number } | null> {
    const place = (await this.status(signal).catch(() => null))?.memory
    const memory = place ? SharedMemory.open(place) : null
    return memory && { memory, inode: place!.inode }
  }

  #ask(method: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      httpRequest({ socketPath: this.#path, method, path, signal, agent: false }, resolve)
        .on('error', (error) => reject(connectionError(this.#path, error)))
        .end()
    })
  }

  #refused({ status, text }: Refusal): VmapipeError {
    const answer = parsed(text)
    const { error = `answered ${status}`, hint } = isObject(answer) ? answer : {}
    return new VmapipeError(status === 400 ? 'USAGE' : 'FAILED', String(error), {
      file: this.#path,
      ...(typeof hint === 'string' && { hint }),
    })
  }

  async #text(response: IncomingMessage): Promise<string> {
    const parts: Buffer[] = []
    let length = 0
    for await (const part of response) {
      length += part.length
      if (length > MAX_ANSWER)
        throw new VmapipeError('FAILED', 'the answer is too long to be one', { file: this.#path })
      parts.push(part)
    }
    return Buffer.concat(parts).toString()
  }
}

function targetOf(wish: BackupWish): string {
  const query = new URLSearchParams()
  for (const drive of wish.drives ?? []) query.append('drive', drive)
  if (wish.buffer !== undefined) query.set('buffer', String(wish.buffer))
  if (wish.maxStall !== undefined) query.set('max-stall', String(wish.maxStall))
  if (wish.bwlimit !== undefined) query.set('bwlimit', String(wish.bwlimit))
  if (wish.uuid !== undefined) query.set('uuid', wish.uuid)
  if (wish.since !== undefined) query.set('since', wish.since)
  for (const drive of wish.whole ?? []) query.append('whole', drive)
  return `/backup?${query}`
}

function bodyOf({ configs = {} }: BackupWish): string {
  const named = Object.entries(configs).map(([name, data]) => [name, Buffer.from(data).toString('base64')])
  return JSON.stringify({ configs: Object.fromEntries(named) })
}

/** Undefined for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
