/** The other end of the control socket: asks a service for its status, or for a backup. */

import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { ServiceStatus } from '../service.ts'

export interface BackupWish {
  drives?: string[]
  /** Contents by name. */
  configs?: Record<string, Uint8Array>
  buffer?: number
  /** Milliseconds. */
  maxStall?: number
  bwlimit?: number
  uuid?: string
}

/** The largest answer that is no archive. */
const MAX_ANSWER = 16 << 20

/** A service that lives answers this soon, in milliseconds. */
const STATUS_MS = 10_000

export class ControlClient {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  async status(): Promise<ServiceStatus> {
    const response = await this.#ask('GET', '/status', undefined, AbortSignal.timeout(STATUS_MS))
    return JSON.parse(await this.#text(response))
  }

  /** Resolves with the archive's bytes once the point in time is set; FAILED or USAGE where the service refuses. */
  async backup({ configs = {}, ...wish }: BackupWish, signal?: AbortSignal): Promise<IncomingMessage> {
    const query = new URLSearchParams()
    for (const drive of wish.drives ?? []) query.append('drive', drive)
    if (wish.buffer !== undefined) query.set('buffer', String(wish.buffer))
    if (wish.maxStall !== undefined) query.set('max-stall', String(wish.maxStall))
    if (wish.bwlimit !== undefined) query.set('bwlimit', String(wish.bwlimit))
    if (wish.uuid !== undefined) query.set('uuid', wish.uuid)
    const named = Object.entries(configs).map(([name, data]) => [name, Buffer.from(data).toString('base64')])
    const body = JSON.stringify({ configs: Object.fromEntries(named) })
    return this.#ask('POST', `/backup?${query}`, body, signal)
  }

  #ask(method: string, path: string, body?: string, signal?: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => reject(this.#explained(error))
      const request: ClientRequest = httpRequest(
        { socketPath: this.#path, method, path, signal, agent: false },
        (response) => {
          if (response.statusCode! < 300) resolve(response)
          else this.#refusal(response).then(reject, fail)
        },
      )
      request.on('error', fail)
      request.end(body)
    })
  }

  async #refusal(response: IncomingMessage): Promise<VmapipeError> {
    const text = await this.#text(response)
    const { error = `answered ${response.statusCode}`, hint } = parsed(text)
    return new VmapipeError(response.statusCode === 400 ? 'USAGE' : 'FAILED', String(error), {
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

  #explained(error: NodeJS.ErrnoException): VmapipeError {
    const nobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED'
    const hint = nobody ? 'is `vmapipe serve --control` running there?' : undefined
    return asVmapipeError(error, { file: this.#path, hint })
  }
}

function parsed(text: string): { error?: unknown; hint?: unknown } {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {}
  }
}
