/** Serves the page over HTTP or HTTPS, at an address or a unix socket, and ends it in order: streams first, then what is idle, then all. */

import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { asVmapipeError, describe, VmapipeError } from '../../core/errors.ts'
import { listenOnPath, type SocketFileOptions } from '../../protocol/socket-file.ts'
import type { WebApp } from './app.ts'
import { checkSafe, type Listen } from './listen.ts'

/** Milliseconds for the head of a request, and for all of it. */
const HEAD_MS = 10_000
const REQUEST_MS = 30_000
const KEEP_ALIVE_MS = 10_000
/** A connection on which nothing moves is cut: a browser that has stopped reading a download would keep its archive open. */
const STUCK_MS = 10 * 60_000
const MOST_CONNECTIONS = 1000
const MOST_HEAD_BYTES = 16 * 1024
/** Requests that run may end before they are cut. All of the process has less than two seconds to end. */
const GRACE_MS = 500

/** PEM files. */
export interface TlsFiles {
  cert: string
  key: string
}

export interface ServeOptions {
  web: Pick<WebApp, 'app' | 'close'>
  listen: Listen
  tls?: TlsFiles
  /** Of a unix socket. */
  access?: SocketFileOptions
}

export interface ServedWeb {
  /** The port that it got; null for a unix socket. */
  readonly port: number | null
  /** Connections that are open. */
  connections(): Promise<number>
  /** Reads the certificate again. Errors: CONFIG; the former one stays then. */
  reloadTls(): Promise<void>
  close(): Promise<void>
}

/** Errors: USAGE without TLS where others can connect, CONFIG for a certificate that is wrong, FAILED if the address is taken. */
export async function serveWeb({ web, listen, tls, access }: ServeOptions): Promise<ServedWeb> {
  checkSafe(listen, tls !== undefined)
  const listener = getRequestListener(web.app.fetch as Parameters<typeof getRequestListener>[0], {
    hostname: 'localhost',
    // The rest of this process keeps its own.
    overrideGlobalObjects: false,
  })
  const server = await makeServer(tls)
  server.on('request', (incoming, outgoing) => void listener(incoming, outgoing))
  // HTTP/2, WebSockets and tunnels are not spoken.
  server.on('upgrade', (_request, socket) => socket.destroy())
  server.on('connect', (_request, socket) => socket.destroy())
  server.headersTimeout = HEAD_MS
  server.requestTimeout = REQUEST_MS
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.timeout = STUCK_MS
  server.maxConnections = MOST_CONNECTIONS
  const file = 'path' in listen ? await listenOnPath(server, listen.path, access) : await listenAt(server, listen)
  return {
    port: 'path' in listen ? null : (server.address() as AddressInfo).port,
    connections: () =>
      new Promise((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      ),
    async reloadTls() {
      if (tls !== undefined) (server as TlsServer).setSecureContext(await readTls(tls))
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      web.close()
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), GRACE_MS)
      await closed
      clearTimeout(timer)
      await file?.remove()
    },
  }
}

async function makeServer(tls: TlsFiles | undefined): Promise<Server | TlsServer> {
  const options = { maxHeaderSize: MOST_HEAD_BYTES, connectionsCheckingInterval: 5000 }
  if (tls === undefined) return createServer(options)
  const pair = await readTls(tls)
  try {
    return createTlsServer({ ...options, ...pair, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] })
  } catch (cause) {
    throw new VmapipeError('CONFIG', `'${tls.cert}' and '${tls.key}' are no certificate and its key`, { cause })
  }
}

async function readTls({ cert, key }: TlsFiles): Promise<{ cert: Buffer; key: Buffer }> {
  const read = (path: string) =>
    readFile(path).catch((cause) => {
      throw new VmapipeError('CONFIG', describe(cause), { cause })
    })
  return { cert: await read(cert), key: await read(key) }
}

async function listenAt(server: Server, { host, port }: { host: string; port: number }): Promise<null> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, exclusive: true }, resolve)
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw asVmapipeError(error)
    throw new VmapipeError('FAILED', `address already in use: ${host}:${port} (EADDRINUSE)`, {
      hint: 'another program listens there: give another address by --listen',
      cause: error,
    })
  })
  return null
}
