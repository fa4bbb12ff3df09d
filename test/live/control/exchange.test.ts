import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { Manifest } from '../../../src/core/items.ts'
import { encodeHeader } from '../../../src/formats/vma/header.ts'
import { ClusterFeed } from '../../../src/live/control/handover/cluster-feed.ts'
import { encodeMessage, Kind, MESSAGE_BYTES, type Message } from '../../../src/live/control/handover/messages.ts'
import { seeded } from '../../support/random.ts'
import { tmpDir } from '../../support/tmp.ts'

const timeout = 240_000

const CLUSTERS = 64
const HEAD = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: vmapipe-clusters\r\n\r\n'

/** A service that answers with `send`; gives the path of its socket and what it was asked. */
async function service(t: TestContext, send: (socket: Socket) => unknown) {
  const path = join(tmpDir(t), 'ctl')
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', (data) => {
      asked.push(data.toString())
      send(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { path, asked }
}

const request = (path: string, signal?: AbortSignal) =>
  ClusterFeed.request({ path, target: '/backup', text: '{}', shared: null, signal })

async function ask(path: string, signal?: AbortSignal): Promise<ClusterFeed> {
  const answer = await request(path, signal)
  assert.ok(answer instanceof ClusterFeed)
  return answer
}

/** All data of the drive, which must be whole. */
async function everything(feed: ClusterFeed, budget = new Budget(16 << 20)): Promise<Buffer> {
  const parts: Buffer[] = []
  try {
    for (let item = await feed.read(budget); item !== null; item = await feed.read(budget)) {
      if (item.kind === 'run') parts.push(...item.blocks.map((bytes) => Buffer.from(bytes)))
      item.release()
    }
    await feed.confirmed()
  } finally {
    feed.close()
  }
  assert.equal(budget.used, 0)
  return Buffer.concat(parts)
}

function message(kind: number, more: Partial<Message> = {}): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES)
  encodeMessage({ kind, ...more }, bytes)
  return bytes
}

const HEADER = encodeHeader(
  new Manifest({
    uuid: Buffer.alloc(16, 1),
    ctime: 1,
    configs: [],
    drives: [{ id: 1, name: 'a', size: CLUSTERS * CLUSTER_SIZE }],
  }),
)
const BEGIN = Buffer.concat([Buffer.from(HEAD), message(Kind.MANIFEST, { length: HEADER.length }), HEADER])
const END = Buffer.concat([message(Kind.END), message(Kind.WHOLE)])

function inline(first: number, data: Buffer): Buffer {
  const [count, length] = [data.length / CLUSTER_SIZE, data.length]
  return Buffer.concat([message(Kind.INLINE, { drive: 1, first, count, length }), data])
}

function noise(length: number, seed: number): Buffer {
  const random = seeded(seed)
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)))
}

describe('what a service hands over without shared memory', { timeout }, () => {
  test('is what it sends, however the bytes arrive', async (t) => {
    const parts = [1, 3, 16, 2].map((count, index) => noise(count * CLUSTER_SIZE, index + 1))
    const bytes = Buffer.concat([BEGIN, ...parts.map((part, index) => inline(index * 16, part)), END])
    const random = seeded(9)
    const { path, asked } = await service(t, async (socket) => {
      for (let at = 0; at < bytes.length; ) {
        const end = at + 1 + Math.floor(random() ** 6 * 200_000)
        await new Promise((resolve) => socket.write(bytes.subarray(at, end), resolve))
        at = end
        if (random() < 0.2) await sleep(1)
      }
      socket.end()
    })
    assert.ok((await everything(await ask(path))).equals(Buffer.concat(parts)))
    assert.match(asked[0], /^POST \/backup HTTP\/1\.1\r\n(?:.+\r\n)*Content-Length: 2\r\n/)
    assert.doesNotMatch(asked[0], /Vmapipe-Memory/)
  })

  test('is never taken for whole where it is cut, wherever that is', async (t) => {
    const answer = Buffer.concat([BEGIN, inline(0, Buffer.alloc(CLUSTER_SIZE, 1)), END])
    const places = [0, 9, HEAD.length - 1, HEAD.length, HEAD.length + 7, BEGIN.length - 1, BEGIN.length]
    for (const length of [
      ...places,
      BEGIN.length + 24,
      BEGIN.length + 9999,
      ...[25, 24, 1].map((n) => answer.length - n),
    ]) {
      const { path } = await service(t, (socket) => socket.end(answer.subarray(0, length)))
      await assert.rejects(async () => everything(await ask(path)), { code: 'FAILED', message: /broke off before/ })
    }
  })

  for (const [what, answer] of Object.entries({
    'no HTTP': 'VMA\0\r\n\r\n',
    'a line without end': `HTTP/1.1 101 ${'x'.repeat(10_000)}`,
    'headers without end': `HTTP/1.1 101 OK\r\n${'a: b\r\n'.repeat(200)}`,
    'a header without a name': `HTTP/1.1 101 OK\r\n: upgrade\r\n\r\n`,
    'data in a memory that is not shared': Buffer.concat([
      BEGIN,
      message(Kind.SHARED, { drive: 1, first: 0, count: 1, length: CLUSTER_SIZE }),
    ]),
  })) {
    test(`is refused: ${what}`, async (t) => {
      const { path } = await service(t, (socket) => socket.write(answer))
      await assert.rejects(
        async () => everything(await ask(path)),
        (error: any) =>
          error.code === 'FAILED' && /not that of a service/.test(error.line) && error.line.includes(path),
      )
    })
  }

  test('takes no more of the budget than there is, and no more from the service than is read', async (t) => {
    const sent = { bytes: 0 }
    const { path } = await service(t, async (socket) => {
      socket.write(BEGIN)
      for (let first = 0; first < CLUSTERS; first += 16) {
        const piece = inline(first, Buffer.alloc(16 * CLUSTER_SIZE, 1))
        if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve))
        sent.bytes += piece.length
      }
      socket.write(END)
    })
    const feed = await ask(path)
    const budget = new Budget(16 << 20)
    assert.equal((await feed.read(budget))!.kind, 'manifest')
    const first = await feed.read(budget)
    await sleep(100)
    assert.ok(sent.bytes < 3 << 20, `${sent.bytes} bytes went into a connection that nobody reads`)
    first!.release()
    assert.equal((await everything(feed, budget)).length, 3 << 20)
    assert.ok(budget.highWater <= 1 << 20)
  })

  test('ends at once when it is aborted or closed, also while it waits', async (t) => {
    const { path } = await service(t, (socket) => socket.write(BEGIN.subarray(0, -1)))
    const controller = new AbortController()
    const budget = new Budget(16 << 20)
    const aborted = (await ask(path, controller.signal)).read(budget)
    setTimeout(() => controller.abort(), 20)
    await assert.rejects(aborted, { code: 'ABORTED' })
    const feed = await ask(path)
    setTimeout(() => feed.close(), 20)
    await assert.rejects(feed.read(budget), { code: 'ABORTED', message: 'closed' })
    assert.equal(budget.used, 0)
    await assert.rejects(ask(path, controller.signal), { code: 'ABORTED' })
  })
})

describe('an answer that hands nothing over', { timeout }, () => {
  test('is given with what it says', async (t) => {
    const { path } = await service(t, (socket) => {
      socket.write('HTTP/1.1 409 Conflict\r\nContent-Length: 15\r\n\r\n{"error":"busy"}')
    })
    assert.deepEqual(await request(path), { status: 409, text: '{"error":"busy"' })
  })

  test('is not waited for where it is absurdly long', async (t) => {
    const { path } = await service(t, (socket) => {
      socket.write('HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n')
    })
    assert.deepEqual(await request(path), { status: 500, text: '' })
  })

  test('is an error where nobody listens', async (t) => {
    await assert.rejects(request(join(tmpDir(t), 'ctl')), { code: 'FAILED', hint: /serve --control/ })
  })
})
