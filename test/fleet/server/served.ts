/** A server of a made-up fleet, and requests to it as any client could make them. */

import { Agent, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { FleetServer, type FleetServerOptions } from '../../../src/fleet/server/server.ts'
import { type MadeUpFleet, madeUpFleet } from '../../support/made-up-fleet.ts'

export interface Served {
  fleet: MadeUpFleet
  server: FleetServer
  port: number
  /** Tokens of the host h1 and of a person. */
  agent: string
  person: string
  warnings: string[]
  ask(path: string, options?: AskOptions): Promise<Answer>
}

export interface AskOptions {
  method?: string
  token?: string | null
  /** JSON, or bytes as they are. */
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
  socketPath?: string
}

export interface Answer {
  status: number
  headers: IncomingMessage['headers']
  text: string
  json: any
}

export async function served(
  t: { after(hook: () => unknown): void },
  options: Partial<FleetServerOptions> = {},
): Promise<Served> {
  const fleet = madeUpFleet()
  const warnings: string[] = []
  const server = new FleetServer({
    ...{ fleet, listen: { host: '127.0.0.1', port: 0 }, warn: (line: string) => void warnings.push(line) },
    ...options,
  })
  await server.start()
  t.after(() => server.stop())
  const port = Number(new URL(server.url).port)
  const agent = fleet.token('h1', 'agent')
  const person = fleet.token('ada', 'person')
  const usual = (path: string) => (path.startsWith('/agent') ? agent : path.startsWith('/people') ? person : null)
  return {
    ...{ fleet, server, port, agent, person, warnings },
    ask: (path, asked = {}) => ask(port, path, { token: usual(path), ...asked }),
  }
}

export function ask(
  port: number,
  path: string,
  { method, token = null, body, headers, signal, socketPath }: AskOptions = {},
): Promise<Answer> {
  const bytes = body === undefined || body instanceof Uint8Array ? (body as Buffer | undefined) : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...(socketPath === undefined ? { host: '127.0.0.1', port } : { socketPath }),
        path,
        method: method ?? (bytes === undefined ? 'GET' : 'POST'),
        agent: new Agent({ keepAlive: false }),
        headers: { ...(token !== null && { authorization: `Bearer ${token}` }), ...headers },
        ...(signal && { signal }),
      },
      async (response) => {
        const parts: Buffer[] = []
        try {
          for await (const part of response) parts.push(part)
        } catch (error) {
          return reject(error)
        }
        const text = Buffer.concat(parts).toString()
        let json: unknown
        try {
          json = JSON.parse(text)
        } catch {}
        resolve({ status: response.statusCode!, headers: response.headers, text, json })
      },
    )
    sent.once('error', reject)
    sent.end(bytes)
  })
}

export const HELLO = {
  ...{ protocol: 1, version: '0.1.0', labels: ['rack-2'], zone: 'Europe/Berlin', parallel: 2 },
  ...{ clock: Date.parse('2026-11-29T00:00:00Z'), incarnation: 'one' },
}

export const INVENTORY = { at: '2026-11-29T00:00:00Z', guests: [], jobs: [], warnings: [] }

/** A connection of a client that keeps to no protocol. */
export function rawConnection(port: number): Promise<{ socket: Socket; text: () => string; closed: Promise<void> }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('data', (data) => {
      text += data
    })
    const closed = new Promise<void>((ended) => socket.once('close', () => ended()))
    socket.once('connect', () => resolve({ socket, text: () => text, closed }))
    socket.on('error', reject)
  })
}
