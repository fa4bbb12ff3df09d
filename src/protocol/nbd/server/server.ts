/**
 * An NBD server: disks under names, on unix sockets and TCP ports. It speaks the fixed newstyle handshake and serves
 * any number of exports to several clients at once. Clients of one export share its disk.
 */

import { createServer, type Server, type Socket } from 'node:net'
import { asVmapipeError } from '../../../core/errors.ts'
import { listenOnPath, type SocketFile, type SocketFileOptions } from '../../socket-file.ts'
import { PayloadBuffers } from './buffers.ts'
import { type ConnectionContext, LOOKS, ServerConnection } from './connection.ts'
import { Exports, type NbdExport } from './export.ts'
import { ServerStats } from './stats.ts'
import type { DiskFailure } from './transmission.ts'
import { SharedRoom } from './window.ts'

export interface NbdServerOptions {
  /** The most clients at once. One more is disconnected. */
  maxConnections?: number
  maxRequests?: number
  maxBytes?: number
  /**
   * The most bytes of payload of all clients in memory: for changes, and as many for the rest. Each client may have 1 MiB,
   * however much the others have. One request at a time may be larger.
   */
  maxTotalBytes?: number
  handshakeTimeout?: number
  /** How long a client may send nothing in the middle of a request before it is disconnected, in milliseconds; a minute by default. */
  idleTimeout?: number
  /** Called with every request that a disk could not do. Must not throw. */
  onDiskError?: (failure: DiskFailure) => void
}

interface CloseOptions {
  /** How long clients may take to read the replies that they wait for, in milliseconds. */
  grace?: number
}

export class NbdServer {
  readonly stats = new ServerStats()
  readonly #exports: Exports
  readonly #context: ConnectionContext
  readonly #maxConnections: number
  readonly #connections = new Set<ServerConnection>()
  readonly #listeners: Server[] = []
  readonly #files: SocketFile[] = []
  readonly #checks: NodeJS.Timeout
  #closing: Promise<void> | null = null

  constructor(exports: readonly NbdExport[], options: NbdServerOptions = {}) {
    const { maxConnections = 64, maxRequests = 128, maxBytes = 4 * 2 ** 20, handshakeTimeout = 10_000 } = options
    const { onDiskError = () => {}, maxTotalBytes = 64 * 2 ** 20, idleTimeout = 60_000 } = options
    this.#exports = new Exports(exports)
    this.#maxConnections = maxConnections
    this.#context = {
      exports: this.#exports,
      buffers: new PayloadBuffers(maxTotalBytes),
      stats: this.stats,
      shared: { changes: new SharedRoom(maxTotalBytes), others: new SharedRoom(maxTotalBytes) },
      ...{ maxRequests, maxBytes, handshakeTimeout, onDiskError },
    }
    this.#checks = setInterval(() => this.#check(), idleTimeout / LOOKS).unref()
  }

  /** Listens on a socket of mode 0600. Replaces the socket of a server that has ended. FAILED if another one listens there. */
  async listenOnPath(path: string, options?: SocketFileOptions): Promise<void> {
    const server = this.#newListener()
    this.#files.push(await listenOnPath(server, path, options))
  }

  /** Listens on a descriptor of a socket that listens already. Its name, if it has one, is not ours to remove. */
  async listenOnFd(fd: number): Promise<void> {
    const server = this.#newListener()
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(asVmapipeError(error, { file: `descriptor ${fd}` })))
      server.listen({ fd }, resolve)
    })
  }

  /** Listens on a port, without encryption or authentication. The system chooses one for port 0. Returns the port. */
  async listenOnPort(host: string, port: number): Promise<number> {
    const server = this.#newListener()
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(asVmapipeError(error, { file: `${host}:${port}` })))
      server.listen({ host, port }, resolve)
    })
    return (server.address() as { port: number }).port
  }

  /**
   * Takes no more clients and requests, answers the requests that were read, flushes the disks and closes all connections. The
   * disks stay open. If a flush fails, it does the rest and then fails.
   */
  close(options?: CloseOptions): Promise<void> {
    this.#closing ??= this.#close(options)
    return this.#closing
  }

  /** Disconnects all clients without answers to their requests. To be called while `close` runs. */
  hangUp(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  async #close({ grace = 5000 }: CloseOptions = {}): Promise<void> {
    const connections = [...this.#connections]
    for (const listener of this.#listeners) listener.close()
    for (const connection of connections) connection.stop()
    const timer = setTimeout(() => this.hangUp(), grace)
    await Promise.all(connections.map(({ finished }) => finished))
    clearTimeout(timer)
    clearInterval(this.#checks)
    await Promise.all(this.#files.map((file) => file.remove()))
    const flushes = await Promise.allSettled(
      [...this.#exports.disks].map(async (disk) => disk.readOnly || disk.flush()),
    )
    for (const flush of flushes) if (flush.status === 'rejected') throw asVmapipeError(flush.reason)
  }

  #check(): void {
    for (const connection of this.#connections) connection.check()
  }

  #newListener(): Server {
    const server = createServer({ pauseOnConnect: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket),
    )
    this.#listeners.push(server)
    return server
  }

  #accept(socket: Socket): void {
    if (this.#closing || this.#connections.size >= this.#maxConnections) {
      socket.destroy()
      return
    }
    const connection = new ServerConnection(socket, this.#context)
    this.#connections.add(connection)
    this.stats.accepted++
    this.stats.connections++
    void connection.finished.then(() => {
      this.#connections.delete(connection)
      this.stats.connections--
    })
  }
}
