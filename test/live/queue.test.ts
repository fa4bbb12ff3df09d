/** A guest with more under way than a service takes in at once, while the reader of its backup takes next to nothing. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { lateness } from '../support/lateness.ts'
import { tmpDir } from '../support/tmp.ts'
import { MiB, makeDisk } from './images.ts'
import { type Serving, serve } from './serving.ts'

const timeout = 60_000
const MAX_STALL = 3000
/** What may be added to a request that the backup has let go in time, besides what others take of the machine. */
const SLACK = 1500

async function start(t: TestContext) {
  const dir = tmpDir(t)
  for (const name of ['a', 'b']) makeDisk(join(dir, name), 160 * MiB)
  const drives = { a: join(dir, 'a'), b: join(dir, 'b') }
  const serving = await serve(t, drives, ['--buffer', '16MiB', '--max-stall', `${MAX_STALL}ms`], dir)
  const connect = async (exportName: string) => {
    const client = await NbdClient.connect({ socketPath: serving.socket, exportName }, { depth: 5000 })
    t.after(() => client.close())
    return client
  }
  return { serving, connect }
}

/** A backup of which nothing is read; resolves when it has read what it has room for. */
async function stalled(serving: Serving) {
  const response = await serving.ask('GET', '/backup')
  response.on('error', () => {})
  for (let last = -1, scanned = 0; last !== scanned || scanned === 0; ) {
    last = scanned
    await sleep(100)
    scanned = (await serving.status()).backup!.clusters.scanned
  }
}

async function timed(work: Promise<unknown> | undefined): Promise<number> {
  const from = performance.now()
  await work
  return performance.now() - from
}

describe('a guest with a long queue', { timeout: 3 * timeout }, () => {
  test('60 writes of 1 MiB: none waits beyond --max-stall, reads behind them do not, and the figures say so', {
    timeout,
  }, async (t) => {
    const { serving, connect } = await start(t)
    const [a, b] = [await connect('a'), await connect('b')]
    await stalled(serving)
    const late = lateness()
    const payload = Buffer.alloc(MiB, 'n')
    const writes = Array.from({ length: 30 }, (_, index) => [
      timed(a.write([payload], (100 + index) * MiB)),
      timed(b.write([payload], (100 + index) * MiB)),
    ]).flat()
    const reads = await Promise.all([timed(a.read(Buffer.alloc(4096), 0)), timed(b.read(Buffer.alloc(4096), 0))])
    const { backup, last } = await serving.status()
    assert.ok(backup !== null && backup.waiting.now > 0, `reads took ${reads} ms; ${last?.error}`)
    const longest = Math.max(...(await Promise.all(writes)))
    const { status, error } = await serving.ended()
    t.diagnostic(
      `reads ${reads.map(Math.round)} ms, the longest write ${Math.round(longest)} ms, ${status.waiting.max} ms by the service`,
    )
    assert.match(error!, /has waited \d+ ms for the archive, 3000 are allowed/)
    assert.ok(longest < MAX_STALL + SLACK + late(), `a write waited ${longest} ms`)
    assert.ok(status.waiting.max > MAX_STALL / 2 && status.waiting.max <= longest)
  })

  test('more than is taken in: what is still in the socket counts too', { timeout }, async (t) => {
    const { serving, connect } = await start(t)
    const a = await connect('a')
    await stalled(serving)
    const late = lateness()
    const payload = Buffer.alloc(4 * MiB, 'n')
    const longest = Math.max(
      ...(await Promise.all(Array.from({ length: 39 }, (_, index) => timed(a.write([payload], index * 4 * MiB))))),
    )
    assert.match((await serving.ended()).error!, /has waited \d+ ms for the archive/)
    assert.ok(longest < MAX_STALL + SLACK + late(), `a write waited ${longest} ms`)
  })

  test('thousands of small writes and zeroes: reads behind them do not wait', { timeout }, async (t) => {
    const { serving, connect } = await start(t)
    const a = await connect('a')
    await stalled(serving)
    const changes = Array.from({ length: 1000 }, (_, index) =>
      index % 2 === 0
        ? a.write([Buffer.alloc(4096, 'n')], 40 * MiB + index * 65_536)
        : a.writeZeroes(40 * MiB + index * 65_536, 65_536),
    )
    const read = await timed(a.read(Buffer.alloc(4096), 0))
    const { backup, last } = await serving.status()
    assert.ok(backup !== null, `a read took ${read} ms; ${last?.error}`)
    await Promise.all(changes)
    await serving.ended()
  })
})
