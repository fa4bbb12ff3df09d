import type { Server } from 'node:http'

/** Answers that are under way have this many milliseconds: more than a long poll takes to end. */
const LONGEST_MS = 600
const LOOK_MS = 20

/** Takes no more connections, lets answers that are under way be sent, and closes all connections. */
export async function closeServer(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  // Connections that were kept open for more requests are closed as soon as their last answer was sent.
  const idle = setInterval(() => server.closeIdleConnections(), LOOK_MS)
  const all = setTimeout(() => server.closeAllConnections(), LONGEST_MS)
  await closed
  clearInterval(idle)
  clearTimeout(all)
}
