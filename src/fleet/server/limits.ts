/** Limits of connections, for peers that are slow, silent or too many. */

import type { Server } from 'node:http'

export const LIMITS = {
  /** Headers must have come within this many milliseconds, of connections without any request too. */
  headersTimeout: 10_000,
  /** And the whole message: 32 MiB at 2.5 Mbit/s. The answer may take longer, as long polls do. */
  requestTimeout: 120_000,
  connectionsCheckingInterval: 2000,
  /** Longer than agents are silent between two requests. */
  keepAliveTimeout: 75_000,
  maxHeaderSize: 16 << 10,
} as const

/** Of 500 agents each has two, and some are left from networks that broke. */
const MOST_CONNECTIONS = 4000
const MOST_HEADERS = 100
/** A connection on which nothing is sent in either direction, such as one to a host that has lost its power; a long poll waits 60 s. */
const SILENT_MS = 300_000

export function limitConnections(server: Server): void {
  server.maxConnections = MOST_CONNECTIONS
  server.maxHeadersCount = MOST_HEADERS
  server.setTimeout(SILENT_MS)
  // Nothing here is upgraded to another protocol; without this the request would be answered as if it had not asked.
  server.on('connect', (_, socket) => socket.destroy())
}
