/**
 * The planner's server: agents and people by HTTPS, and the owner by a unix socket.
 *
 *   /agent/v1/…     what agents say (messages/)
 *   /people/v1/…    what people ask (messages/people.ts)
 */

import type { Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { Hono } from 'hono'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { listenOnPath, type SocketFile } from '../../protocol/socket-file.ts'
import type { Fleet } from '../fleet.ts'
import { agentRoutes } from './agent-routes.ts'
import { BodyRoom } from './body.ts'
import { type CertificateFiles, isSame, readCertificate } from './certificates.ts'
import { closeServer } from './close-server.ts'
import { type Env, Gate } from './gate.ts'
import { LIMITS, limitConnections } from './limits.ts'
import { addressText, isLoopback, type ListenAddress } from './listen-address.ts'
import { peopleRoutes } from './people-routes.ts'
import { answerFor, Refused } from './refused.ts'

export interface FleetServerOptions {
  fleet: Pick<Fleet, 'agents' | 'people' | 'tokens'>
  listen: ListenAddress
  /** HTTPS. It is needed on any address that others can connect to. */
  tls?: CertificateFiles
  /** The unix socket of the owner. */
  socket?: string
  /** The folder that central jobs come from, if people cannot write them. */
  jobsFrom?: string | null
  /** Milliseconds between two looks at the files of the certificate. */
  lookEvery?: number
  inform?: (line: string) => void
  warn?: (line: string) => void
}

const LOOK_MS = 30_000

export class FleetServer {
  readonly #options: FleetServerOptions
  readonly #app: Hono<Env>
  readonly #stopping = new AbortController()
  /** The one of agents and people first. */
  readonly servers: Server[] = []
  #socketFile: SocketFile | null = null
  #look: NodeJS.Timeout | undefined
  /** Reads the certificate again. It is the same as before if it cannot be used. */
  renewCertificate: () => Promise<void> = async () => {}

  constructor(options: FleetServerOptions) {
    this.#options = options
    refuseWithoutTls(options)
    this.#app = this.#makeApp()
  }

  /** Throws FAILED if an address or the socket cannot be had. */
  async start(): Promise<void> {
    const { listen, socket } = this.#options
    try {
      const server = await this.#makeServer()
      await listenOn(server, listen)
      if (socket === undefined) return
      const own = createAdaptorServer({
        fetch: (request, env) => this.#app.fetch(request, { ...env, isOwner: true }),
        hostname: 'planner',
        overrideGlobalObjects: false,
        serverOptions: LIMITS,
      }) as Server
      limitConnections(own)
      this.#socketFile = await listenOnPath(own as never, socket)
      this.servers.push(own)
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** The address of agents and people, with its port. */
  get url(): string {
    const { listen, tls } = this.#options
    const { port } = this.servers[0].address() as AddressInfo
    return `${tls === undefined ? 'http' : 'https'}://${addressText({ host: listen.host, port })}`
  }

  /** Long polls are answered with nothing, and all connections are closed within a second. */
  async stop(): Promise<void> {
    clearInterval(this.#look)
    this.#stopping.abort(new VmapipeError('ABORTED', 'the planner stops'))
    await this.#socketFile?.remove()
    this.#socketFile = null
    await Promise.all(this.servers.splice(0).map(closeServer))
  }

  #makeApp(): Hono<Env> {
    const { fleet, jobsFrom = null, warn = () => {} } = this.#options
    const app = new Hono<Env>()
    const gate = new Gate(fleet.tokens)
    const common = { room: new BodyRoom(), stopping: this.#stopping.signal }
    app.onError((error) => answerFor(error, warn))
    app.use('/agent/v1/*', gate.for('agent'))
    app.route('/agent/v1', agentRoutes({ agents: fleet.agents, warn, ...common }))
    app.use('/people/v1/*', gate.for('person'))
    app.route('/people/v1', peopleRoutes({ fleet, jobsFrom, ...common }))
    for (const own of ['/agent/*', '/people/*']) app.all(own, () => notFound())
    app.notFound(() => answerFor(new Refused(404, 'there is nothing at this address'), warn))
    return app
  }

  async #makeServer(): Promise<Server> {
    const { tls } = this.#options
    const common = { fetch: this.#app.fetch, hostname: 'planner', overrideGlobalObjects: false }
    const server =
      tls === undefined
        ? (createAdaptorServer({ ...common, serverOptions: LIMITS }) as Server)
        : await this.#makeTlsServer(tls, common)
    limitConnections(server)
    this.servers.push(server)
    return server
  }

  async #makeTlsServer(files: CertificateFiles, common: { fetch: Hono<Env>['fetch'] }): Promise<Server> {
    const { inform = () => {}, warn = () => {}, lookEvery = LOOK_MS } = this.#options
    let certificate = await readCertificate(files)
    const serverOptions = { ...LIMITS, ...certificate, handshakeTimeout: LIMITS.headersTimeout }
    const server = createAdaptorServer({
      ...common,
      overrideGlobalObjects: false,
      createServer: createTlsServer,
      serverOptions,
    }) as ReturnType<typeof createTlsServer>
    let last = ''
    this.renewCertificate = async () => {
      try {
        const now = await readCertificate(files)
        last = ''
        if (isSame(now, certificate)) return
        server.setSecureContext(now)
        certificate = now
        inform('the certificate was replaced by the one that is in its file now')
      } catch (error) {
        // One of two files may have been replaced, and the other not yet. It is told once.
        const { text } = asVmapipeError(error)
        if (text !== last) warn(`the certificate stays the one that it was: ${text}`)
        last = text
      }
    }
    this.#look = setInterval(() => void this.renewCertificate(), lookEvery).unref()
    return server as unknown as Server
  }
}

/** Throws USAGE if others can connect, and could read everything on its way. */
export function refuseWithoutTls({ listen, tls }: Pick<FleetServerOptions, 'listen' | 'tls'>): void {
  if (tls !== undefined || isLoopback(listen.host)) return
  throw new VmapipeError('USAGE', `others can connect to ${addressText(listen)}, so TLS is needed there`, {
    hint: 'give --tls-cert FILE and --tls-key FILE, or listen on 127.0.0.1',
  })
}

function notFound(): Response {
  throw new Refused(404, 'there is no such address of the planner', {
    hint: 'one of the two may be of another version',
  })
}

async function listenOn(server: Server, { host, port }: ListenAddress): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const isTaken = cause.code === 'EADDRINUSE'
      const hint = isTaken ? 'does another planner run here? --listen gives this one another port' : undefined
      const what = `cannot listen on ${addressText({ host, port })}`
      const error = new VmapipeError('FAILED', `${what}: ${isTaken ? 'address already in use' : cause.message}`, {
        hint,
        cause,
      })
      reject(error)
    })
    server.listen({ host, port }, resolve)
  })
}
