/**
 * A guest that writes: 4 KiB at random places of each drive, one write after the other, each durable before the next. As a
 * process of its own: node writer.ts SOCKET PACE EXPORT..., PACE being writes a second and drive at most, 0 for no limit. It
 * says a line when it has begun; when its input ends, how it went.
 */

import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { xorshift } from '../images.ts'
import { STEP_MS, type Written } from './written.ts'

const BLOCK = 4096

const [socketPath, pace, ...exports] = process.argv.slice(2)
const pause = Number(pace) === 0 ? 0 : 1000 / Number(pace)
const clients = await Promise.all(exports.map((exportName) => NbdClient.connect({ socketPath, exportName })))
const written: Written = { since: Date.now(), counts: [], longest: [] }
let over = false

async function write(client: NbdClient, seed: number): Promise<void> {
  const random = xorshift(seed)
  const blocks = Math.floor(client.size / BLOCK)
  const buffer = Buffer.alloc(BLOCK, `written by ${seed}\n`)
  for (let due = performance.now(); !over; ) {
    const from = performance.now()
    await client.write([buffer], (random() % blocks) * BLOCK, { fua: true })
    const now = performance.now()
    count(now - from)
    // Who is late does not make up for it.
    due = Math.max(due + pause, now)
    if (due > now) await sleep(due - now)
  }
}

/** A write that has just ended, after so many milliseconds. */
function count(took: number): void {
  const step = Math.floor((Date.now() - written.since) / STEP_MS)
  while (written.counts.length <= step) {
    written.counts.push(0)
    written.longest.push(0)
  }
  written.counts[step]++
  written.longest[step] = Math.max(written.longest[step], took)
}

const done = Promise.all(clients.map((client, index) => write(client, index + 1)))
console.log('writing')
await Promise.race([text(process.stdin), done])
over = true
await done
await Promise.all(clients.map((client) => client.close()))
console.log(JSON.stringify(written))
