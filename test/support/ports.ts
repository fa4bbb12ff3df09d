/** Ports of loopback for servers that tests start. */

import { connect, createServer } from 'node:net'

/**
 * Below those that the kernel gives to connections and to servers without a port of their own: one of these might take it before the
 * server does that it is meant for. Another process of tests begins elsewhere.
 */
const FIRST = 10_000
const MOST = 22_000
const APART = 50
let next = (process.pid * APART) % MOST

/** Ports that nobody listens on, each another. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = FIRST + (next++ % MOST)
    if (await isFree(port)) ports.push(port)
  }
  return ports
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

/** Whether something listens on this port. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
