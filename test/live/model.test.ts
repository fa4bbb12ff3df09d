/**
 * A guest of many writers against a model, over the socket, while backups begin, end and are given up: each archive holds
 * the drives of one instant.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { definePipeline } from '../../src/core/pipeline.ts'
import { ClusterFeed } from '../../src/live/control/handover/cluster-feed.ts'
import { confirmation, feedSource } from '../../src/live/control/handover/feed-source.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { sink } from '../../src/stages/sink.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { writeImage } from '../support/image.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { imagesOf, MiB } from './images.ts'
import { Crowd } from './model/crowd.ts'
import { Lane, type Stretch } from './model/lane.ts'
import { type Serving, serve } from './serving.ts'

/** It goes on for so long, and on a busy machine until it has seen enough. */
const FOR_MS = 12_000

const SIZES = { a: 5 * MiB + 1537, b: 2 * MiB, wide: 6 * MiB, crowd: MiB }
type Name = keyof typeof SIZES

/** Of odd size, so that clusters and blocks are shared by writers. */
const STRIPE = 40_961

/** Stripes of the drives for several lanes in turn. */
function stripes(lanes: number, drives: readonly Name[]): Stretch[][] {
  const shares: Stretch[][] = Array.from({ length: lanes }, () => [])
  let turn = 0
  for (const drive of drives) {
    for (let offset = 0; offset < SIZES[drive]; offset += STRIPE) {
      shares[turn++ % lanes].push({ drive, offset, length: Math.min(STRIPE, SIZES[drive] - offset) })
    }
  }
  return shares
}

test(`every archive is of one instant, whatever is written meanwhile (seed ${seed})`, {
  timeout: 240_000,
}, async (t) => {
  const random = seeded(seed)
  const dir = tmpDir(t)
  const names = Object.keys(SIZES) as Name[]
  const sources = Object.fromEntries(names.map((name) => [name, join(dir, name)]))
  for (const name of names) writeImage(sources[name], SIZES[name], name === 'crowd' ? {} : { text: SIZES[name] >> 1 })
  const shadows = Object.fromEntries(names.map((name) => [name, readFileSync(sources[name])]))
  const serving = await serve(t, sources, ['--buffer', '16MiB'])
  const guest = async () => ({ shadows, random, clients: await connect(t, serving, names) })
  const [first, second] = [await guest(), await guest()]
  const lanes = stripes(6, ['a', 'b']).map(
    (share, index) => new Lane(index < 3 ? first : second, `lane ${index}`, share, 40_000),
  )
  lanes.push(new Lane(first, 'wide', [{ drive: 'wide', offset: 0, length: SIZES.wide }], 3 * MiB))
  const crowd = new Crowd([first.clients.crowd, second.clients.crowd], SIZES.crowd / 512, random)

  let over = false
  const writers = [...lanes, crowd, crowd, crowd].map(async (writer) => {
    while (!over) await writer.step()
  })
  // Where one fails the test ends, rather than to wait for it.
  const failed = new Promise<never>((_, reject) => {
    for (const writer of writers) writer.catch(reject)
  })
  failed.catch(() => {})

  const figures = { whole: 0, cut: 0, copied: 0 }
  /** The backup that runs, by ourselves. */
  let gaveUp = false
  const until = performance.now() + FOR_MS
  const requests = () => [...lanes, crowd].reduce((sum, writer) => sum + writer.requests, 0)
  const isEnough = () => figures.whole >= 3 && figures.copied >= 50 && requests() > 1000
  while (performance.now() < until || !isEnough()) await Promise.race([oneBackup(), failed])
  over = true
  await Promise.all(writers)
  t.diagnostic(
    `${requests()} requests, ${figures.whole} archives checked, ${figures.cut} cut, ${figures.copied} copies`,
  )
  assert.equal(await serving.stop(), 0)
  for (const name of names.filter((name) => name !== 'crowd'))
    assert.ok(readFileSync(sources[name]).equals(shadows[name]), `${name} holds what its guest wrote`)

  async function oneBackup(): Promise<void> {
    gaveUp = false
    for (const lane of lanes) lane.forget()
    const mark = {
      lanes: lanes.map(({ done }) => done),
      crowd: crowd.now,
      shadows: Object.fromEntries(names.map((name) => [name, Buffer.from(shadows[name])])),
    }
    const asked = [asArchive, asClusters, asInlineClusters][Math.floor(random() * 3)]
    const take = await asked()
    const begun = { lanes: lanes.map(({ begun }) => begun), crowd: crowd.now }
    const archive = await take()
    const { complete, status, error } = await serving.ended()
    // What is given up at the very end was whole to the service: the last bytes may be in the socket already.
    const agree = complete === (archive !== null) || (complete && gaveUp)
    assert.ok(agree, `${asked.name}: whole to the service: ${complete} (${error}), to the reader: ${archive !== null}`)
    if (archive === null) {
      figures.cut++
      return
    }
    figures.whole++
    figures.copied += status.clusters.copied
    assert.equal(status.clusters.scanned + status.clusters.copied, status.clusters.total)
    // What a trim has left is known when it is done.
    for (const [index, lane] of lanes.entries()) while (lane.done < begun.lanes[index]) await sleep(1)
    const images = await imagesOf(archive)
    for (const [index, lane] of lanes.entries())
      lane.checkInstant(images, mark.shadows, mark.lanes[index], begun.lanes[index])
    crowd.checkInstant(images.get('crowd')!, mark.crowd, begun.crowd)
  }

  /** An archive begins that is read at some pace; null where it is cut off, one way or another. */
  async function asArchive(): Promise<() => Promise<Buffer | null>> {
    const response = await serving.ask('GET', `/backup?bwlimit=${bwlimit()}`)
    assert.equal(response.statusCode, 200)
    return async () => {
      const parts: Buffer[] = []
      const timer = setTimeout(fate(), random() * 300, () => {
        gaveUp = true
        response.destroy()
      })
      try {
        for await (const part of response) await take(parts, part)
      } catch {
        return null
      } finally {
        clearTimeout(timer)
      }
      return response.complete ? Buffer.concat(parts) : null
    }
  }

  /** The same, of clusters in the service's memory. */
  async function asClusters(): Promise<() => Promise<Buffer | null>> {
    return archiveOf(await serving.client.backup({ bwlimit: bwlimit() }))
  }

  /** The same, of clusters whose data comes by the socket. */
  async function asInlineClusters(): Promise<() => Promise<Buffer | null>> {
    const request = { path: serving.control, target: `/backup?bwlimit=${bwlimit()}`, text: '{}', shared: null }
    const feed = await ClusterFeed.request(request)
    assert.ok(feed instanceof ClusterFeed)
    return archiveOf(feed)
  }

  function archiveOf(feed: ClusterFeed): () => Promise<Buffer | null> {
    return async () => {
      const parts: Buffer[] = []
      const given = new AbortController()
      const timer = setTimeout(fate(), random() * 300, () => {
        gaveUp = true
        given.abort()
      })
      const to = new Writable({
        write: (part, _, done) => void take(parts, part).then(() => done(), done),
      })
      const stages = [feedSource({ feed }), zeroElider(), vmaFramer(), confirmation({ feed }), sink({ to })]
      try {
        await definePipeline(stages).run({ buffer: 16 * MiB, signal: given.signal })
      } catch {
        return null
      } finally {
        clearTimeout(timer)
      }
      return Buffer.concat(parts)
    }
  }

  function bwlimit(): number {
    return Math.ceil(10 + random() * 90) * MiB
  }

  /** What may happen to a backup, to whoever reads it. */
  function fate(): (giveUp: () => void) => void {
    const fate = random()
    return (giveUp) => {
      if (fate < 0.15) giveUp()
      else if (fate < 0.3) void serving.json('DELETE', '/backup').catch(() => {})
    }
  }

  /** Now and then it takes a while, for which whoever sends it has to wait. */
  async function take(parts: Buffer[], part: Buffer): Promise<void> {
    parts.push(Buffer.from(part))
    if (random() < 0.03) await sleep(random() * 10)
  }
})

async function connect(t: TestContext, serving: Serving, names: readonly Name[]): Promise<Record<string, NbdClient>> {
  const clients: Record<string, NbdClient> = {}
  for (const name of names) {
    const address = { socketPath: serving.socket, exportName: name }
    // A write is one request, however long: only then does it happen at one instant.
    clients[name] = await NbdClient.connect(address, { requestSize: 4 * MiB })
    t.after(() => clients[name].close())
  }
  return clients
}
