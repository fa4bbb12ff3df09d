/** A proxy of HTTP in front of a store that does what networks and stores do wrong: it cuts, delays, refuses and gives wrong lengths. */

import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Fault {
  /** The answer instead of the store's. */
  status?: number
  headers?: Record<string, string>
  body?: string
  /** Waits before it asks the store. */
  delayMs?: number
  /** Cuts the connection after this many bytes of the answer. */
  cutAfter?: number
  /** Cuts the connection when it has the request, before the store has it. */
  drop?: boolean
  /** Gives the request to the store, and cuts the connection instead of answering. */
  loseAnswer?: boolean
  /** Changes a byte of the request's body. */
  spoil?: boolean
  /** Changes the answer's headers. */
  change?(headers: Record<string, unknown>): void
  /** Bytes behind the answer, for a length that it does not have. */
  endless?: boolean
  /** Headers, and then nothing. */
  silent?: boolean
}

export interface Asked {
  method: string
  url: string
  headers: IncomingMessage['headers']
}

export interface FaultyProxy {
  endpoint: string
  /** What was asked, in order. */
  asked: Asked[]
  /** What goes wrong with a request; nothing if it gives undefined. */
  fault: (asked: Asked) => Fault | undefined
  close(): Promise<void>
}

export async function startFaultyProxy(endpoint: string): Promise<FaultyProxy> {
  const server = createServer((from, to) => {
    const asked = { method: from.method!, url: from.url!, headers: from.headers }
    proxy.asked.push(asked)
    void pass(endpoint, from, to, proxy.fault(asked) ?? {}).catch(() => to.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const proxy: FaultyProxy = {
    endpoint: `http://127.0.0.1:${port}`,
    asked: [],
    fault: () => undefined,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return proxy
}

async function pass(endpoint: string, from: IncomingMessage, to: ServerResponse, fault: Fault): Promise<void> {
  if (fault.drop) return void to.destroy()
  const pieces: Buffer[] = []
  for await (const piece of from) pieces.push(piece)
  const body = Buffer.concat(pieces)
  if (fault.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs))
  if (fault.status !== undefined) {
    to.writeHead(fault.status, fault.headers)
    return void to.end(fault.body)
  }
  if (fault.spoil && body.length > 0) body[body.length >> 1] ^= 1
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    // The signature is of the host that the client has asked, which the request keeps.
    const sent = request(new URL(from.url!, endpoint), { method: from.method, headers: from.headers })
    sent.once('response', resolve)
    sent.once('error', reject)
    sent.end(body)
  })
  const headers: Record<string, unknown> = { ...answer.headers }
  delete headers.connection
  fault.change?.(headers)
  if (fault.loseAnswer) {
    answer.resume()
    await new Promise((resolve) => answer.once('end', resolve))
    return void to.destroy()
  }
  to.writeHead(answer.statusCode!, headers as Record<string, string>)
  if (fault.silent) return void to.flushHeaders()
  let passed = 0
  for await (const piece of answer as AsyncIterable<Buffer>) {
    if (fault.cutAfter !== undefined && passed + piece.length > fault.cutAfter) {
      to.write(piece.subarray(0, fault.cutAfter - passed), () => to.destroy())
      return
    }
    passed += piece.length
    to.write(piece)
  }
  if (!fault.endless) return void to.end()
  to.setMaxListeners(0)
  while (!to.destroyed) {
    if (!to.write(Buffer.alloc(65536))) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve))
  }
}
