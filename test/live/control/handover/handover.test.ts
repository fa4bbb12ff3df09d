import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { describe, type TestContext, test } from 'node:test'
import { Budget } from '../../../../src/core/budget.ts'
import type { ClusterItem } from '../../../../src/core/items.ts'
import { definePipeline } from '../../../../src/core/pipeline.ts'
import type { ClusterFeed } from '../../../../src/live/control/handover/cluster-feed.ts'
import { confirmation, feedSource } from '../../../../src/live/control/handover/feed-source.ts'
import { NbdClient } from '../../../../src/protocol/nbd/client.ts'
import { sink } from '../../../../src/stages/sink.ts'
import { vmaFramer } from '../../../../src/stages/vma-framer.ts'
import { zeroElider } from '../../../../src/stages/zero-elider.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { assertArchive, keepCopy, MiB, makeDisk } from '../../images.ts'
import { type Serving, serve } from '../../serving.ts'

const timeout = 240_000

async function served(t: TestContext, size = 8 * MiB, flags: string[] = []) {
  const disk = join(tmpDir(t), 'disk')
  makeDisk(disk, size)
  return { disk, serving: await serve(t, { a: disk }, flags) }
}

async function feedOf(t: TestContext, serving: Serving, wish = {}): Promise<ClusterFeed> {
  const feed = await serving.client.backup(wish)
  t.after(() => feed.close())
  return feed
}

async function everything(feed: ClusterFeed): Promise<ClusterItem[]> {
  const items: ClusterItem[] = []
  const budget = new Budget(16 << 20)
  for (let item = await feed.read(budget); item !== null; item = await feed.read(budget)) items.push(item)
  return items
}

async function archiveOf(feed: ClusterFeed): Promise<Buffer> {
  const parts: Buffer[] = []
  const to = new Writable({
    write(part, _, done) {
      parts.push(Buffer.from(part))
      done()
    },
  })
  const stages = [feedSource({ feed }), zeroElider(), vmaFramer(), confirmation({ feed }), sink({ to })]
  const { leaked } = await definePipeline(stages).run()
  assert.equal(leaked, 0)
  return Buffer.concat(parts)
}

interface Asked {
  body?: string
  length?: number
  inode?: number
  protocol?: string
}

/** A connection that has asked, and the status of the answer. */
async function asked(
  t: TestContext,
  { control, client }: Serving,
  target: string,
  { body = '', length, inode, protocol = 'vmapipe-clusters' }: Asked = {},
): Promise<{ socket: Socket; status: number; text: () => string; closed: Promise<void> }> {
  const socket = connect(control)
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  t.after(() => socket.destroy())
  socket.write(`POST ${target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n`)
  const { memory } = await client.status()
  socket.write(`Vmapipe-Memory: ${inode ?? memory!.inode}\r\nContent-Length: ${length ?? body.length}\r\n\r\n`)
  // As it may come: not in one piece.
  socket.write(body.slice(0, 5))
  if (body.length > 5) setTimeout(() => socket.write(body.slice(5)), 5)
  let text = ''
  socket.on('data', (data) => {
    text += data.toString('latin1')
  })
  while (!text.includes('\r\n\r\n')) await once(socket, 'data')
  return { socket, status: Number(text.slice(9, 12)), text: () => text, closed }
}

describe('a backup of which another process gets the clusters', { timeout }, () => {
  test('is complete when everything is back', async (t) => {
    const { disk, serving } = await served(t)
    const archive = await archiveOf(await feedOf(t, serving))
    const { complete, status } = await serving.ended()
    assert.ok(complete)
    assert.equal(status.buffer.used, 0)
    await assertArchive(t, archive, { a: disk })
  })

  test('comes to its end if a guest came first nearly everywhere', async (t) => {
    const { disk, serving } = await served(t, 48 * MiB, ['--buffer', '16MiB'])
    const before = keepCopy(disk)
    const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
    t.after(() => guest.close())
    const feed = await feedOf(t, serving, { bwlimit: 16 * MiB })
    const archive = archiveOf(feed)
    // Of every sixteen clusters the scan is left one, for which it takes memory for all of them.
    const block = Buffer.alloc(512, 'n')
    for (let cluster = 767; cluster >= 384; cluster--)
      if (cluster % 16 !== 0) await guest.write([block], cluster * 65_536)
    await assertArchive(t, await archive, { a: before })
    assert.ok((await serving.ended()).complete)
  })

  test('is not complete where somebody goes away who has not given everything back', async (t) => {
    const { serving } = await served(t)
    const feed = await feedOf(t, serving)
    const items = await everything(feed)
    assert.equal((await serving.status()).last, null)
    items.at(-1)!.release()
    feed.close()
    const { complete, error } = await serving.ended()
    assert.deepEqual([complete, error], [false, 'the reader of the archive went away'])
    await archiveOf(await feedOf(t, serving))
  })

  test('can be ended while it waits for that, and is never whole to who has it', async (t) => {
    const { serving } = await served(t)
    const feed = await feedOf(t, serving)
    const items = await everything(feed)
    const { code } = await serving.json('DELETE', '/backup')
    assert.equal(code, 204)
    for (const item of items) item.release()
    await assert.rejects(feed.confirmed(), { code: 'FAILED', message: /broke off/ })
  })

  test('takes other memory when one before has kept some, which who still looks into that is told', async (t) => {
    const { disk, serving } = await served(t)
    const { memory } = await serving.status()
    let other = memory
    // It keeps some if a read is under way when it is given up, which may have ended just before.
    for (let tries = 0; tries < 100 && other!.inode === memory!.inode; tries++) {
      const response = await serving.ask('GET', '/backup?bwlimit=1MiB/s')
      response.on('error', () => {})
      await once(response, 'data')
      response.destroy()
      await serving.ended()
      other = (await serving.status()).memory
    }
    assert.notEqual(other!.inode, memory!.inode)
    const { status, text } = await asked(t, serving, '/backup', { inode: memory!.inode })
    assert.equal(status, 412)
    assert.match(text(), /the memory is another one by now/)
    await assertArchive(t, await archiveOf(await feedOf(t, serving)), { a: disk })
    assert.deepEqual((await serving.status()).memory, other)
  })

  test('is given up where something comes back that was never given; the guest goes on', async (t) => {
    const { serving } = await served(t)
    for (const bytes of ['\xff\xff\xff\xff', '\0\0\0\0\0\0\0\0', 'GET / HTTP/1.1\r\n\r\n']) {
      const { socket, status, closed } = await asked(t, serving, '/backup?bwlimit=1MiB/s')
      assert.equal(status, 101)
      socket.write(bytes, 'latin1')
      await closed
      assert.equal((await serving.ended()).complete, false)
    }
    const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
    t.after(() => guest.close())
    await guest.write([Buffer.alloc(4096, 1)], 0)
  })

  test('gets copies that the memory has no room for, too', async (t) => {
    const { disk, serving } = await served(t, 48 * MiB, ['--buffer', '16MiB'])
    const before = keepCopy(disk)
    const feed = await feedOf(t, serving, { buffer: 64 * MiB })
    const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' }, { depth: 64 })
    t.after(() => guest.close())
    // From the other end than the scan, and nobody reads yet.
    const writes = Array.from({ length: 480 }, (_, n) =>
      guest.write([Buffer.alloc(4096, n)], 48 * MiB - (n + 1) * 65536),
    )
    while ((await serving.status()).backup!.clusters.copied < 400);
    const archive = archiveOf(feed)
    await Promise.all(writes)
    await assertArchive(t, await archive, { a: before })
  })

  test('is refused as any other, in one line', async (t) => {
    const { serving } = await served(t)
    const configs = JSON.stringify({ configs: { '../x': 'eA==' } })
    for (const [target, how, line] of [
      ['/status', {}, /there is no such protocol here/],
      ['/backups', {}, /there is no such protocol here/],
      ['/backup?drive=b', {}, /there is no drive 'b'/],
      ['/backup?level=3', {}, /the query: .*level/],
      ['/backup', { body: 'configs' }, /the body is no JSON/],
      ['/backup', { body: configs }, /config name '..\/x' has a slash/],
      ['/backup', { body: configs, length: 3 }, /there is more than the body/],
      ['/backup', { body: 'x'.repeat(2 * MiB) }, /the body is larger than/],
    ] as const) {
      const { status, text, closed } = await asked(t, serving, target, how)
      assert.equal(status, 400, target)
      await closed
      assert.match(text(), line)
    }
    assert.deepEqual([(await serving.status()).backup, (await serving.status()).last], [null, null])
    const first = await asked(t, serving, '/backup?bwlimit=1MiB/s')
    assert.equal((await asked(t, serving, '/backup')).status, 409)
    first.socket.destroy()
    await serving.ended()
  })

  test('is not waited for by a service that stops, nor is who never says all', async (t) => {
    const { serving } = await served(t)
    const feed = await feedOf(t, serving, { bwlimit: MiB })
    const silent = connect(serving.control).on('error', () => {})
    t.after(() => silent.destroy())
    silent.write('POST /backup HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: vmapipe-clusters\r\n')
    silent.write('Content-Length: 10\r\n\r\n{')
    const begun = performance.now()
    assert.equal(await serving.stop(), 0)
    assert.ok(performance.now() - begun < 10_000, 'it waits for a body for longer than that')
    await assert.rejects(everything(feed), { code: 'FAILED', message: /broke off/ })
  })

  test('is not what others want who ask for another protocol', async (t) => {
    const { serving } = await served(t)
    const { status, text } = await asked(t, serving, '/status', { protocol: 'h2c' })
    // Of HTTP, as which it is understood.
    assert.equal(status, 405)
    assert.match(text(), /\/status does not take POST/)
  })
})
