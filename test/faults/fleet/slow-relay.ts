/**
 * A slow network as a process: what comes to one port goes on to another address, both ways with 1 Mbit a second and 200 ms later. Not every
 * kernel has netem.
 *
 *     node slow-relay.ts ADDRESS PORT TO-PORT
 */

import { connect, createServer, type Socket } from 'node:net'

const BYTES_PER_MS = 1_000_000 / 8 / 1000
const DELAY_MS = 200
/** More than this is not taken before it has left. */
const MOST_WAITING = 64 << 10

const [address, port, to] = process.argv.slice(2)

createServer((near) => {
  const far = connect(Number(to), address)
  pass(near, far)
  pass(far, near)
}).listen(Number(port), address, () => console.log('ready'))

function pass(from: Socket, to: Socket): void {
  /** When the last byte so far has left the wire. */
  let free = 0
  let waiting = 0
  from.on('data', (bytes) => {
    free = Math.max(Date.now(), free) + bytes.length / BYTES_PER_MS
    waiting += bytes.length
    if (waiting > MOST_WAITING) from.pause()
    later(() => {
      to.write(bytes)
      waiting -= bytes.length
      if (waiting <= MOST_WAITING) from.resume()
    })
  })
  from.on('end', () => later(() => to.end()))
  from.on('error', () => to.destroy())
  const later = (act: () => void) => setTimeout(act, Math.max(0, free - Date.now()) + DELAY_MS)
}
