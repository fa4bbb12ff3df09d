import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { Budget } from '../../src/core/budget.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Manifest } from '../../src/core/items.ts'
import { encodeHeader } from '../../src/formats/vma/header.ts'
import { ControlClient } from '../../src/live/control/client.ts'
import { ClusterFeed } from '../../src/live/control/handover/cluster-feed.ts'
import { encodeMessage, Kind, MESSAGE_BYTES, type Message } from '../../src/live/control/handover/messages.ts'
import { SharedMemory } from '../../src/system/shared-memory.ts'
import { tmpDir } from '../support/tmp.ts'
import { attempt, fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

const path = join(tmpDir({ after }), 'control')

/** What the service answers to everything. */
let answer: Buffer = Buffer.alloc(0)
let step = 1
const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.once('data', () => {
    for (let at = 0; at < answer.length; at += step) socket.write(answer.subarray(at, at + step))
    socket.end()
  })
})
await new Promise<void>((resolve) => server.listen(path, resolve))
after(() => server.close())

const MANIFEST = new Manifest({
  uuid: Buffer.alloc(16, 1),
  ctime: 1,
  configs: [],
  drives: [
    { id: 1, name: 'a', size: 1 << 20 },
    { id: 7, name: 'b', size: 100_000 },
  ],
})
const memory = SharedMemory.create(1 << 20)!
after(() => memory.close())

function told(kind: number, more: Partial<Message> = {}, data = 0): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES + data)
  encodeMessage({ kind, ...more }, bytes)
  return bytes
}

/** Clusters of the first drive. */
const clusters = fc
  .tuple(fc.constantFrom(Kind.ZEROES, Kind.SHARED, Kind.INLINE), fc.nat(15), fc.integer({ min: 1, max: 16 }))
  .map(([kind, first, most]) => {
    const count = Math.min(most, 16 - first)
    const length = kind === Kind.ZEROES ? 0 : count * CLUSTER_SIZE
    const offset = kind === Kind.SHARED ? first * CLUSTER_SIZE : 0
    return told(kind, { drive: 1, first, count, length, offset }, kind === Kind.INLINE ? length : 0)
  })

const conversation = fc.record({
  isShared: fc.boolean(),
  clusters: fc.array(clusters, { maxLength: 8 }),
  changes: mutations([0, 9, 90, 95, 12_890, 12_914, 12_938], 3),
  step: fc.constantFrom(1 << 20, 4096, 23),
})

fuzz(
  'a service that says something else than it should gives no clusters that are not there',
  conversation,
  async (input) => {
    step = input.step
    const header = encodeHeader(MANIFEST)
    const begin = Buffer.from('HTTP/1.1 101 Switching Protocols\r\nUpgrade: vmapipe-clusters\r\n\r\n')
    const manifest = Buffer.concat([told(Kind.MANIFEST, { length: header.length }), header])
    const all = Buffer.concat([begin, manifest, ...input.clusters, told(Kind.END), told(Kind.WHOLE)])
    answer = mutate(all, input.changes)
    const budget = new Budget(16 << 20)
    const read = async () => {
      const shared = input.isShared ? { memory: SharedMemory.open(memory.place!)!, inode: 1 } : null
      const feed = await ClusterFeed.request({ path, target: '/backup', text: '{}', shared, mostHeld: 1 << 18 })
      if (!(feed instanceof ClusterFeed)) return shared?.memory.close()
      try {
        for (let item = await feed.read(budget); item !== null; item = await feed.read(budget)) {
          if (item.kind === 'run') for (const block of item.blocks) crc32(block)
          item.release()
        }
        await feed.confirmed()
      } finally {
        feed.close()
      }
    }
    await attempt(read, 'FAILED', 'INCOMPLETE', 'DAMAGED', 'USAGE')
    assert.equal(budget.used, 0)
  },
)

const STATUS = '{"drives": [{"name": "a", "size": 65536}], "backup": null}'
const status = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${STATUS.length}\r\n\r\n${STATUS}`

fuzz('a service that answers nonsense has no status', mutations([0, 9, 60, 70, 80], 3), async (changes) => {
  step = 1 << 20
  answer = mutate(Buffer.from(status), changes)
  const result = await attempt(() => new ControlClient(path).status(), 'FAILED', 'USAGE')
  assert.ok(result instanceof VmapipeError || typeof result === 'object')
})
