import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient, type NbdOptions } from '../../../src/protocol/nbd/client.ts'
import type { UpstreamEvent } from '../../../src/protocol/nbd/lasting-connection.ts'
import type { ServedDisk } from '../../../src/protocol/nbd/server/export.ts'
import { NbdServer } from '../../../src/protocol/nbd/server/server.ts'
import { seed, seeded } from '../../support/random.ts'
import { tmpDir } from '../../support/tmp.ts'
import { MemoryDisk } from './server/memory-disk.ts'

const timeout = 60_000

/** A server whose disk has a cache that it loses when it crashes. */
class Upstream {
  readonly durable: Buffer
  readonly socketPath: string
  disk: MemoryDisk
  /** The server says so. */
  readOnly = false
  #server: NbdServer | null = null
  #isDead = false

  constructor(t: TestContext, size: number) {
    this.durable = Buffer.alloc(size)
    this.disk = new MemoryDisk(size)
    this.socketPath = join(tmpDir(t), 's')
    t.after(() => this.crash())
  }

  async start(size = this.durable.length): Promise<void> {
    const disk = new MemoryDisk(size, this.readOnly)
    this.durable.copy(disk.content)
    this.disk = disk
    this.#isDead = false
    const served: ServedDisk = Object.create(disk)
    served.flush = () => {
      if (!this.#isDead) disk.content.copy(this.durable)
      return undefined
    }
    for (const name of ['read', 'write', 'zero', 'trim', 'map'] as const)
      (served as any)[name] = (disk as any)[name].bind(disk)
    this.#server = new NbdServer([{ name: '', disk: served }])
    await this.#server.listenOnPath(this.socketPath)
  }

  async crash(): Promise<void> {
    this.#isDead = true
    this.#server?.hangUp()
    await this.#server?.close({ grace: 0 })
    this.#server = null
  }
}

async function connect(t: TestContext, upstream: Upstream, options: NbdOptions = {}) {
  const client = await NbdClient.connectLasting({ socketPath: upstream.socketPath, exportName: '' }, options)
  const events: UpstreamEvent[] = []
  client.upstream!.onEvent = (event) => events.push(event)
  t.after(() => client.close())
  return { client, events }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(2)
}

test('requests wait for a server that is away, those that were under way too, and it is told', {
  timeout,
}, async (t) => {
  const upstream = new Upstream(t, 65536)
  await upstream.start()
  const { client, events } = await connect(t, upstream)
  await client.write([Buffer.alloc(512, 1)], 0)
  upstream.disk.before = () => new Promise(() => {})
  // The server has these, and never answers them.
  const into = Buffer.alloc(1024)
  const pending = [client.read(into, 0), client.write([Buffer.alloc(512, 2)], 512), client.flush()]
  await until(() => upstream.disk.calls.length > 2)
  upstream.disk.before = () => undefined
  void upstream.crash()
  await until(() => client.upstream!.status.connected === false)
  pending.push(client.write([Buffer.alloc(512, 3)], 1024))
  await until(() => typeof client.upstream!.status.error === 'string')
  await upstream.start()
  await Promise.all(pending)
  await client.flush()
  assert.equal(into[0], 1)
  assert.deepEqual(
    [0, 512, 1024].map((at) => upstream.durable[at]),
    [1, 2, 3],
  )
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['lost', 'back'],
  )
  const { connected, reconnects, error, unflushed } = client.upstream!.status
  assert.deepEqual(
    { connected, reconnects, error, unflushed },
    { connected: true, reconnects: 1, error: null, unflushed: 0 },
  )
})

test(`a flush that succeeds covers what a server that crashed had lost (seed ${seed})`, { timeout }, async (t) => {
  const size = 65536
  const next = seeded(seed)
  const below = (n: number) => Math.floor(next() * n)
  const upstream = new Upstream(t, size)
  await upstream.start()
  const { client } = await connect(t, upstream)
  const model = Buffer.alloc(size)
  for (let round = 0; round < 12; round++) {
    const work: Promise<void>[] = []
    // Of one round none touches the bytes of another, as their order would be anybody's guess.
    for (let slot = 0; slot < 16; slot++) {
      const offset = slot * 4096 + below(2000)
      const length = 1 + below(2000)
      const fill = 1 + below(255)
      if (below(3) > 0) {
        work.push(client.write([Buffer.alloc(length, fill)], offset, { fua: below(4) === 0 }))
        model.fill(fill, offset, offset + length)
      } else {
        work.push(client.writeZeroes(offset, length))
        model.fill(0, offset, offset + length)
      }
    }
    if (below(2) === 0) await Promise.all(work)
    if (below(3) === 0) await upstream.crash().then(() => upstream.start())
    if (below(3) === 0) work.push(client.flush())
    await Promise.all(work)
    const now = Buffer.alloc(size)
    await client.read(now, 0)
    assert.ok(now.equals(model), `round ${round}`)
  }
  await client.flush()
  assert.ok(upstream.durable.equals(model))
})

test('what is kept for a server is bounded: it is flushed when there is no room', { timeout }, async (t) => {
  const upstream = new Upstream(t, 2 ** 20)
  await upstream.start()
  const { client } = await connect(t, upstream)
  for (let round = 0; round < 40; round++) await client.write([Buffer.alloc(2 ** 20, round)], 0)
  await until(() => client.upstream!.status.unflushed <= 10 * 2 ** 20)
  await upstream.crash()
  await upstream.start()
  const now = Buffer.alloc(1)
  await client.read(now, 0)
  assert.equal(now[0], 39)
})

for (const [what, change, message] of [
  ['another size', (upstream: Upstream) => upstream.start(32768), /came back with 32768 bytes instead of 65536/],
  [
    'read-only',
    (upstream: Upstream) => {
      upstream.readOnly = true
      return upstream.start()
    },
    /came back read-only/,
  ],
] as const) {
  test(`a server that comes back with ${what} is another one, and nothing of it is used`, { timeout }, async (t) => {
    const upstream = new Upstream(t, 65536)
    await upstream.start()
    const { client, events } = await connect(t, upstream)
    await upstream.crash()
    const read = client.read(Buffer.alloc(512), 0)
    read.catch(() => {})
    await change(upstream)
    await until(() => events.at(-1)?.kind === 'replaced')
    assert.match((events.at(-1) as { error: Error }).error.message, message)
    client.upstream!.giveUp()
    await assert.rejects(read, message)
  })
}

test('who cannot wait says for how long, and who gives up hears what may be lost', { timeout }, async (t) => {
  const upstream = new Upstream(t, 65536)
  await upstream.start()
  const { client } = await connect(t, upstream)
  await client.flush()
  await upstream.crash()
  await assert.rejects(client.read(Buffer.alloc(512), 0, { patience: 30 }), /has been away for 0.03 s/)
  await assert.rejects(async () => {
    for await (const _ of client.extents(0, 4096, { patience: 30 }));
  }, /has been away/)
  await upstream.start()
  await client.write([Buffer.alloc(512, 1)], 0)
  await upstream.crash()
  const read = client.read(Buffer.alloc(512), 0)
  read.catch(() => {})
  client.upstream!.giveUp()
  await assert.rejects(read, /away/)
  await assert.rejects(client.flush(), /written since the last flush may be lost/)
})

test('nothing is lost of a server that is given up when all was durable', { timeout }, async (t) => {
  const upstream = new Upstream(t, 65536)
  await upstream.start()
  const { client } = await connect(t, upstream)
  await client.write([Buffer.alloc(512, 1)], 0)
  await client.flush()
  await upstream.crash()
  client.upstream!.giveUp()
  await client.flush()
  await assert.rejects(client.write([Buffer.alloc(512)], 0), /away/)
})
