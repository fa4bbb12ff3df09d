import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { Budget } from '../../../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../../../src/core/geometry.ts'
import { type ClusterItem, Manifest, type Run } from '../../../../src/core/items.ts'
import { encodeHeader } from '../../../../src/formats/vma/header.ts'
import { ClusterFeed } from '../../../../src/live/control/handover/cluster-feed.ts'
import { encodeMessage, Kind, MESSAGE_BYTES, type Message } from '../../../../src/live/control/handover/messages.ts'
import { SharedMemory } from '../../../../src/system/shared-memory.ts'
import { tmpDir } from '../../../support/tmp.ts'

const timeout = 60_000

const HEAD = Buffer.from('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: vmapipe-clusters\r\n\r\n')

/** The second drive ends within its third cluster. */
const MANIFEST = new Manifest({
  uuid: Buffer.alloc(16, 1),
  ctime: 1,
  configs: [],
  drives: [
    { id: 1, name: 'a', size: 64 * CLUSTER_SIZE },
    { id: 2, name: 'b', size: 2 * CLUSTER_SIZE + 5000 },
  ],
})

function message(kind: number, more: Partial<Message> = {}): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES)
  encodeMessage({ kind, ...more }, bytes)
  return bytes
}

const HEADER = encodeHeader(MANIFEST)
const BEGIN = Buffer.concat([HEAD, message(Kind.MANIFEST, { length: HEADER.length }), HEADER])
const END = message(Kind.END)
const WHOLE = message(Kind.WHOLE)

function shared(first: number, count: number, cluster = first): Buffer {
  const [length, offset] = [count * CLUSTER_SIZE, cluster * CLUSTER_SIZE]
  return message(Kind.SHARED, { drive: 1, first, count, length, offset })
}

/** A service that answers with `send`; its memory holds a cluster of ones, one of twos, and so on. */
async function service(t: TestContext, send: (socket: Socket, returned: () => number[]) => unknown) {
  const path = join(tmpDir(t), 'ctl')
  const memory = SharedMemory.create(64 * CLUSTER_SIZE)!
  t.after(() => memory.close())
  for (let index = 0; index < 64; index++)
    memory.memory.fill(index + 1, index * CLUSTER_SIZE, (index + 1) * CLUSTER_SIZE)
  const asked: string[] = []
  let answers = Buffer.alloc(0)
  const returned = () => Array.from({ length: answers.length >> 2 }, (_, index) => answers.readUInt32BE(index * 4))
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', (data) => {
      asked.push(data.toString())
      socket.on('data', (bytes) => {
        answers = Buffer.concat([answers, bytes])
      })
      send(socket, returned)
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const request = (mostHeld = 8 << 20, signal?: AbortSignal) =>
    ClusterFeed.request({
      ...{ path, target: '/backup?x=y', text: '{}', mostHeld, signal },
      shared: { memory: SharedMemory.open(memory.place!)!, inode: 7 },
    })
  const open = async (mostHeld?: number, signal?: AbortSignal) => {
    const feed = await request(mostHeld, signal)
    assert.ok(feed instanceof ClusterFeed)
    t.after(() => feed.close())
    return feed
  }
  return { path, memory, asked, returned, request, open }
}

async function everything(feed: ClusterFeed, budget = new Budget(16 << 20)): Promise<ClusterItem[]> {
  const items: ClusterItem[] = []
  for (let item = await feed.read(budget); item !== null; item = await feed.read(budget)) items.push(item)
  return items
}

function firstBytes(items: ClusterItem[]): (number | null)[] {
  return items.slice(1).map((item) => (item as Run).blocks[0]?.[0] ?? null)
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
}

describe('clusters in the memory of a service', { timeout }, () => {
  test('are what the service has told of, and given back when they are released', async (t) => {
    const tail = message(Kind.INLINE, { drive: 2, first: 2, count: 1, length: 8192 })
    const zeroes = message(Kind.ZEROES, { drive: 2, first: 0, count: 2 })
    const stream = Buffer.concat([BEGIN, shared(3, 2), zeroes, tail, Buffer.alloc(8192, 0x77), shared(0, 1), END])
    const { open, asked, returned } = await service(t, async (socket) => {
      for (let at = 0; at < stream.length; at += 4999)
        await new Promise((resolve) => socket.write(stream.subarray(at, at + 4999), resolve))
    })
    const feed = await open()
    const budget = new Budget(16 << 20)
    const items = await everything(feed, budget)
    assert.match(
      asked[0],
      /^POST \/backup\?x=y HTTP\/1\.1\r\n(?:.+\r\n)*Upgrade: vmapipe-clusters\r\nVmapipe-Memory: 7\r\n/,
    )
    assert.deepEqual((items[0] as Manifest).drives, MANIFEST.drives)
    const runs = items.slice(1) as Run[]
    assert.deepEqual(
      runs.map(({ drive, first, count, isZero }) => [drive, first, count, isZero]),
      [
        [1, 3, 2, false],
        [2, 0, 2, true],
        [2, 2, 1, false],
        [1, 0, 1, false],
      ],
    )
    assert.deepEqual(firstBytes(items), [4, null, 0x77, 1])
    assert.equal(budget.used, 8192, 'what lies in the memory is not copied')
    assert.deepEqual(returned(), [])
    runs[3].release()
    await until(() => returned().length === 1)
    for (const run of runs.slice(0, 3)) run.release()
    await until(() => returned().length === 2)
    assert.deepEqual(returned(), [1, 0])
    assert.equal(budget.used, 0)
  })

  test('are copied, and given back at once, where much is held', async (t) => {
    const { open, memory, returned } = await service(t, (socket) =>
      socket.write(Buffer.concat([BEGIN, shared(0, 16), shared(16, 16), shared(32, 16), shared(48, 16), END])),
    )
    const feed = await open(2 << 20)
    const budget = new Budget(16 << 20)
    const items = await everything(feed, budget)
    assert.equal(budget.used, 2 << 20)
    await until(() => returned().length === 2)
    assert.deepEqual(returned(), [2, 3])
    memory.memory.fill(0xff, 32 * CLUSTER_SIZE)
    assert.deepEqual(firstBytes(items), [1, 17, 33, 49])
    for (const item of items) item.release()
    await until(() => returned().length === 4)
  })

  test('are whole when the service has said so, after all of them are back', async (t) => {
    const { open } = await service(t, async (socket, returned) => {
      socket.write(Buffer.concat([BEGIN, shared(0, 1), END]))
      await until(() => returned().length === 1)
      socket.end(WHOLE)
    })
    const feed = await open()
    const items = await everything(feed)
    const confirmed = feed.confirmed()
    items[1].release()
    await confirmed
  })

  test('are never whole where the service breaks off, wherever that is', async (t) => {
    const stream = Buffer.concat([BEGIN, message(Kind.ZEROES, { drive: 1, first: 0, count: 1 }), END, WHOLE])
    const lengths = [HEAD.length + 5, BEGIN.length - 1, BEGIN.length, BEGIN.length + 30]
    for (const length of [...lengths, stream.length - MESSAGE_BYTES, stream.length - 1]) {
      const { open } = await service(t, (socket) => socket.end(stream.subarray(0, length)))
      const whole = async () => {
        const feed = await open()
        await everything(feed)
        await feed.confirmed()
      }
      await assert.rejects(whole, { code: 'FAILED', message: /broke off before the archive was whole/ })
    }
  })

  for (const [what, bytes] of Object.entries({
    'clusters before the manifest': Buffer.concat([HEAD, shared(0, 1)]),
    'an end before the manifest': Buffer.concat([HEAD, END]),
    'a second manifest': Buffer.concat([BEGIN, BEGIN.subarray(HEAD.length)]),
    'a manifest of absurd length': Buffer.concat([HEAD, message(Kind.MANIFEST, { length: 2 ** 32 - 1 })]),
    'a drive that is none': Buffer.concat([BEGIN, message(Kind.ZEROES, { drive: 3, count: 1 })]),
    'no clusters': Buffer.concat([BEGIN, message(Kind.ZEROES, { drive: 1 })]),
    'clusters past the end': Buffer.concat([BEGIN, message(Kind.ZEROES, { drive: 2, first: 2, count: 2 })]),
    'data outside the memory': Buffer.concat([BEGIN, shared(0, 1, 64)]),
    'data that ends outside the memory': Buffer.concat([BEGIN, shared(0, 2, 63)]),
    'data at an absurd place': Buffer.concat([
      BEGIN,
      message(Kind.SHARED, { drive: 1, count: 1, length: CLUSTER_SIZE, offset: 2 ** 60 }),
    ]),
    'less data than the clusters have': Buffer.concat([
      BEGIN,
      message(Kind.INLINE, { drive: 1, count: 2, length: CLUSTER_SIZE }),
    ]),
    'an unknown message': Buffer.concat([BEGIN, message(9, { drive: 1, count: 1, length: CLUSTER_SIZE })]),
    'something behind the end': Buffer.concat([BEGIN, END, END]),
  })) {
    test(`are refused: ${what}`, async (t) => {
      const { open, path } = await service(t, (socket) => socket.write(bytes))
      const whole = async () => {
        const feed = await open()
        await everything(feed)
        await feed.confirmed()
      }
      await assert.rejects(
        whole,
        (error: any) =>
          error.code === 'FAILED' && /not that of a service/.test(error.line) && error.line.includes(path),
      )
    })
  }

  test('that came with what is refused are given back', async (t) => {
    const inline = message(Kind.INLINE, { drive: 2, first: 2, count: 1, length: 8192 })
    const { open } = await service(t, (socket) =>
      socket.write(Buffer.concat([BEGIN, inline, Buffer.alloc(8192), message(9)])),
    )
    const feed = await open()
    const budget = new Budget(16 << 20)
    await assert.rejects(everything(feed, budget), { code: 'FAILED' })
    feed.close()
    assert.equal(budget.used, 0)
  })

  test('end at once when they are aborted or closed, also while they are waited for', async (t) => {
    const { open, request } = await service(t, (socket) => socket.write(BEGIN))
    const controller = new AbortController()
    const feed = await open(0, controller.signal)
    assert.equal((await feed.read(new Budget(16 << 20)))?.kind, 'manifest')
    setTimeout(() => controller.abort(), 20)
    await assert.rejects(feed.read(new Budget(16 << 20)), { code: 'ABORTED' })
    const other = await open()
    const confirmed = other.confirmed()
    setTimeout(() => other.close(), 20)
    await assert.rejects(confirmed, { code: 'ABORTED', message: 'closed' })
    await assert.rejects(request(0, controller.signal), { code: 'ABORTED' })
  })

  test('are not waited for where something else is answered', async (t) => {
    const { request } = await service(t, (socket) =>
      socket.write('HTTP/1.1 409 Conflict\r\nContent-Length: 15\r\n\r\n{"error":"busy"'),
    )
    assert.deepEqual(await request(), { status: 409, text: '{"error":"busy"' })
  })
})
