/**
 * A guest of several writers against a model, while incremental backups are made, given up and made again, the service is killed, and
 * what it tracked is lost at random: each chain of archives gives the drives of one instant.
 */

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { writeImage } from '../../support/image.ts'
import { seed, seeded } from '../../support/random.ts'
import { tmpDir } from '../../support/tmp.ts'
import { MiB } from '../images.ts'
import { Lane, type Stretch } from '../model/lane.ts'
import { type Serving, serve } from '../serving.ts'
import { takeBackup } from './taken.ts'

const SIZES = { a: 5 * MiB + 1537, b: 3 * MiB }
const NAMES = Object.keys(SIZES) as (keyof typeof SIZES)[]
/** Of odd size, so that clusters and regions are shared by writers. */
const STRIPE = 140_961
const ROUNDS = 4
const BACKUPS = 3

interface Archive {
  uuid: string
  images: Record<string, Buffer>
}

test(`every chain of archives is of one instant (seed ${seed})`, { timeout: 120_000 }, async (t) => {
  const random = seeded(seed)
  const dir = tmpDir(t)
  const sources = Object.fromEntries(NAMES.map((name) => [name, join(dir, name)]))
  for (const name of NAMES) writeImage(sources[name], SIZES[name], { text: SIZES[name] >> 1 })
  const archives: Archive[] = []
  const figures = { part: 0, whole: 0, cut: 0 }
  const reasons = new Set<string>()
  for (let round = 0; round < ROUNDS; round++) {
    const serving = await serve(t, sources, ['--track'], dir)
    await oneLife(serving)
    if (random() < 0.6) await serving.kill()
    else assert.equal(await serving.stop(), 0)
    if (random() < 0.3) lose(join(`${serving.control}.track`, `${NAMES[Math.floor(random() * 2)]}.changes`))
  }
  t.diagnostic(`${JSON.stringify(figures)} ${[...reasons].join('; ')}`)
  assert.ok(figures.part >= 3, JSON.stringify(figures))

  function lose(record: string): void {
    const bytes = readFileSync(record)
    bytes[Math.floor(random() * 400)] ^= 1
    if (random() < 0.5) rmSync(record)
    else writeFileSync(record, bytes)
  }

  async function oneLife(serving: Serving): Promise<void> {
    const shadows = Object.fromEntries(NAMES.map((name) => [name, readFileSync(sources[name])]))
    const clients = await connect(t, serving)
    const guest = { shadows, random, clients }
    const lanes = stripes(4).map((share, index) => new Lane(guest, `lane ${index}`, share, 30_000))
    let over = false
    const writers = lanes.map(async (lane) => {
      while (!over) {
        await lane.step()
        if (random() < 0.1) await sleep(random() * 20)
      }
    })
    const failed = Promise.all(writers).then(() => {})
    failed.catch(() => {})
    for (let count = 0; count < BACKUPS; count++) await Promise.race([oneBackup(serving, lanes, shadows), failed])
    over = true
    await failed
    for (const client of Object.values(clients)) await client.close()
  }

  async function oneBackup(serving: Serving, lanes: Lane[], shadows: Record<string, Buffer>): Promise<void> {
    for (const lane of lanes) lane.forget()
    const done = lanes.map((lane) => lane.done)
    const before = Object.fromEntries(NAMES.map((name) => [name, Buffer.from(shadows[name])]))
    const parent = archives[Math.max(0, archives.length - 1 - Math.floor(random() * 4))]
    const nothing = Object.fromEntries(NAMES.map((name) => [name, Buffer.alloc(SIZES[name], 0xee)]))
    const uuid = randomUUID()
    const given = new AbortController()
    const timer = random() < 0.25 ? setTimeout(() => given.abort(), random() * 150) : undefined
    const wish = { uuid, bwlimit: 20 * MiB, ...(parent && { since: parent.uuid }) }
    const taken = await takeBackup(serving, wish, parent?.images ?? nothing, given.signal).catch((error) => {
      if (!given.signal.aborted) throw error
      return null
    })
    clearTimeout(timer)
    if (taken === null) {
      figures.cut++
      // Another one may begin when the service knows. It may not even have begun this one.
      while ((await serving.status()).backup !== null) await sleep(10)
      return
    }
    const begun = lanes.map((lane) => lane.begun)
    // What a trim has left is known when it is done.
    for (const [index, lane] of lanes.entries()) while (lane.done < begun[index]) await sleep(1)
    const images = new Map(
      Object.entries(taken.images).map(([name, image]) => [name, image.subarray(0, SIZES[name as 'a'])]),
    )
    for (const [index, lane] of lanes.entries()) lane.checkInstant(images, before, done[index], begun[index])
    archives.push({ uuid, images: taken.images })
    for (const used of Object.values(taken.used)) {
      if ('all' in used) reasons.add(used.all)
      figures['all' in used ? 'whole' : 'part']++
    }
  }
})

/** Stripes of the drives for several lanes in turn. */
function stripes(lanes: number): Stretch[][] {
  const shares: Stretch[][] = Array.from({ length: lanes }, () => [])
  let turn = 0
  for (const drive of NAMES) {
    for (let offset = 0; offset < SIZES[drive]; offset += STRIPE)
      shares[turn++ % lanes].push({ drive, offset, length: Math.min(STRIPE, SIZES[drive] - offset) })
  }
  return shares
}

async function connect(t: TestContext, serving: Serving): Promise<Record<string, NbdClient>> {
  const clients: Record<string, NbdClient> = {}
  for (const name of NAMES) {
    const address = { socketPath: serving.socket, exportName: name }
    clients[name] = await NbdClient.connect(address, { requestSize: 4 * MiB })
    t.after(() => clients[name].close().catch(() => {}))
  }
  return clients
}
