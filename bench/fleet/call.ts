/** JSON over HTTP on connections that are kept, as agents and browsers do. */

import { Agent, request } from 'node:http'
import { gunzipSync } from 'node:zlib'

const connections = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 2000 })

export interface Asked {
  headers?: Record<string, string>
  /** It is a POST then. */
  body?: unknown
  signal?: AbortSignal
}

export interface Answered {
  status: number
  /** Without what compressed it. */
  text: string
  /** Bytes that came over the connection. */
  bytes: number
  cookie: string | undefined
}

export function call(url: string, { headers = {}, body, signal }: Asked = {}): Promise<Answered> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const { promise, resolve, reject } = Promise.withResolvers<Answered>()
  const sent = request(url, {
    ...{ agent: connections, signal, method: text === undefined ? 'GET' : 'POST' },
    headers: {
      ...headers,
      ...(text !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    },
  })
  sent.on('error', reject)
  sent.on('response', (answer) => {
    const parts: Buffer[] = []
    answer.on('data', (part) => parts.push(part))
    answer.on('error', reject)
    answer.on('end', () => {
      const all = Buffer.concat(parts)
      const isPacked = answer.headers['content-encoding'] === 'gzip'
      resolve({
        status: answer.statusCode!,
        text: (isPacked ? gunzipSync(all) : all).toString('utf8'),
        bytes: all.length,
        cookie: answer.headers['set-cookie']?.[0].split(';')[0],
      })
    })
  })
  sent.end(text)
  return promise
}
