/**
 * The control socket: HTTP over a unix socket of mode 0600, so that curl is a client.
 *
 *   GET /status      what is served and what is going on, as JSON
 *   GET /metrics     the same for Prometheus
 *   GET /backup      a backup: the body of the response is the archive (see request.ts for its options); with
 *                    `Upgrade: vmapipe-clusters` its clusters, for another vmapipe (see handover/messages.ts)
 *   PATCH /backup    changes the limit of the one that runs: ?bwlimit=50MiB, or none
 *   DELETE /backup   gives up the one that runs
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex, Writable } from 'node:stream'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { parseBytes } from '../../core/size.ts'
import type { BoundStage } from '../../core/stage.ts'
import { listenOnPath, type SocketFile } from '../../protocol/socket-file.ts'
import type { BackupRequest, ControlledService } from './controlled-service.ts'
import { handover } from './handover/handover.ts'
import { Upgrade, wantsHandover } from './handover/upgrade.ts'
import { metricsOf } from './metrics.ts'
import { readRequest } from './request.ts'

/** The trailer that says that an archive is whole. A response that is not whole ends without its last chunk. */
export const OUTCOME = 'Vmapipe-Outcome'
const COMPLETE = 'complete'

/** The most clients at once. All who may connect are trusted, but a client in a loop must not take all memory. */
const MAX_CONNECTIONS = 100

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown

export class ControlServer {
  readonly #service: ControlledService
  readonly #server: Server
  /** Connections that were upgraded: the HTTP server waits for their end, and does not close them itself. */
  readonly #upgraded = new Set<Duplex>()
  #file: SocketFile | null = null
  readonly #routes: Record<string, Record<string, Handler>> = {
    '/status': { GET: (_, response) => json(response, 200, this.#service.status) },
    '/metrics': { GET: (_, response) => this.#metrics(response) },
    '/backup': {
      GET: (request, response) => this.#backUp(request, response),
      POST: (request, response) => this.#backUp(request, response),
      PATCH: (request, response) => this.#limit(request, response),
      DELETE: (_, response) => this.#abort(response),
    },
  }

  constructor(service: ControlledService) {
    this.#service = service
    this.#server = createServer({ shouldUpgradeCallback: wantsHandover }, (request, response) =>
      this.#handle(request, response),
    )
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('upgrade', (request, socket, head) => {
      this.#upgraded.add(socket)
      socket.once('close', () => this.#upgraded.delete(socket))
      void this.#handOver(request, new Upgrade(request, socket as Socket, head))
    })
  }

  async listen(path: string): Promise<void> {
    this.#file = await listenOnPath(this.#server as never, path)
  }

  /** On a descriptor of a socket that listens already. */
  async listenOnFd(fd: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(asVmapipeError(error, { file: `descriptor ${fd}` })))
      this.#server.listen({ fd }, resolve)
    })
  }

  async close(): Promise<void> {
    await this.#file?.remove()
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    for (const socket of this.#upgraded) socket.destroy()
    await closed
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const [path] = (request.url ?? '').split('?', 1)
      const methods = this.#routes[path]
      if (methods === undefined)
        return refuse(response, 404, `there is no ${path}`, `there are ${Object.keys(this.#routes).join(', ')}`)
      const handler = methods[request.method ?? '']
      if (handler === undefined) {
        response.setHeader('Allow', Object.keys(methods).join(', '))
        return refuse(response, 405, `${path} does not take ${request.method}`)
      }
      await handler(request, response)
    } catch (error) {
      const { message, hint } = asVmapipeError(error)
      refuse(response, statusOf(error), message, hint)
    }
  }

  async #metrics(response: ServerResponse): Promise<void> {
    const { contentType, text } = await metricsOf(this.#service.status)
    response.writeHead(200, { 'Content-Type': contentType }).end(text)
  }

  async #limit(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = new URL(request.url ?? '', 'http://service').searchParams.get('bwlimit') ?? ''
    const rate = text === 'none' ? Number.POSITIVE_INFINITY : parseBytes(text)
    if (!rate) return refuse(response, 400, 'bwlimit is no rate', 'write it as 50MiB, or none')
    if (!this.#service.limitBackup(rate)) return refuse(response, 404, 'no backup is running')
    response.writeHead(204).end()
  }

  async #abort(response: ServerResponse): Promise<void> {
    if (!(await this.#service.abortBackup('aborted by request'))) return refuse(response, 404, 'no backup is running')
    response.writeHead(204).end()
  }

  async #backUp(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.httpVersionMinor === 0) {
      return refuse(response, 505, 'an archive takes HTTP/1.1: before it nothing tells a whole one from one cut short')
    }
    // A request that is too long gets an answer: the connection stays open.
    const wanted = await readRequest(request.url ?? '', request.iterator({ destroyOnReturn: false }))
    if (wanted.since !== undefined)
      throw new VmapipeError(
        'USAGE',
        'an incremental archive is made by vmapipe backup --attach … --since, which knows the parent',
      )
    this.#service.checkBackup(wanted)
    response.writeHead(200, { 'Content-Type': 'application/octet-stream', Trailer: OUTCOME })
    response.addTrailers({ [OUTCOME]: COMPLETE })
    await this.#backUpFor(response, wanted, response)
  }

  /** A backup whose clusters go to another process: in our memory, which it shares, or inline. */
  async #handOver(request: IncomingMessage, upgrade: Upgrade): Promise<void> {
    try {
      if (!/^\/backup(\?|$)/.test(request.url ?? ''))
        return upgrade.refuse(400, report('there is no such protocol here'))
      const wanted = await readRequest(request.url ?? '', upgrade.body())
      this.#service.checkBackup(wanted)
      // Nothing is awaited from here on, so this is the memory that the backup will use.
      const { shared, place } = this.#service.memory
      const { inode } = upgrade
      if (inode !== null && place?.inode !== inode)
        return upgrade.refuse(412, report('the memory is another one by now'))
      const socket = upgrade.accept()
      const memory = inode === null ? null : shared
      await this.#backUpFor(socket, wanted, handover({ socket, memory }))
    } catch (error) {
      const { message, hint } = asVmapipeError(error)
      upgrade.refuse(statusOf(error), report(message, hint))
    }
  }

  async #backUpFor(reader: Writable, wanted: BackupRequest, to: Writable | BoundStage): Promise<void> {
    // The reader may go away while nothing is being written.
    const gone = new AbortController()
    reader.once('close', () => {
      if (!reader.writableFinished) gone.abort(new VmapipeError('FAILED', 'the reader of the archive went away'))
    })
    try {
      await this.#service.backUp({ ...wanted, signal: gone.signal }, to)
    } catch {
      // The status has the error. The reader sees a response that was cut off, and does not take it for whole.
      reader.destroy()
    }
  }
}

function statusOf(error: unknown): number {
  const { code } = asVmapipeError(error)
  return code === 'USAGE' ? 400 : code === 'FAILED' ? 409 : 500
}

function report(error: string, hint?: string): Buffer {
  return encoded({ error, hint })
}

function encoded(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 2)}\n`)
}

function json(response: ServerResponse, code: number, value: unknown): void {
  const text = encoded(value)
  // With its length: `vmapipe backup --attach` takes no answer in chunks.
  response.writeHead(code, { 'Content-Type': 'application/json', 'Content-Length': text.length }).end(text)
}

function refuse(response: ServerResponse, code: number, error: string, hint?: string): void {
  if (response.headersSent) response.destroy()
  else json(response, code, { error, hint })
}
