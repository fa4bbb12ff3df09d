/** What clients may take of a server's memory and time, whatever they do. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import * as nbd from '../../../../src/protocol/nbd/constants.ts'
import { PayloadBuffers } from '../../../../src/protocol/nbd/server/buffers.ts'
import type { ChangeOptions } from '../../../../src/protocol/nbd/server/export.ts'
import type { NbdServerOptions } from '../../../../src/protocol/nbd/server/server.ts'
import { MemoryDisk } from './memory-disk.ts'
import { serve } from './wire-client.ts'

const timeout = 60_000
const MiB = 2 ** 20

type Context = Parameters<typeof serve>[0]

/** As a guest's drive that a backup holds. */
class HoldingDisk extends MemoryDisk {
  isHolding = false
  readonly queuedSince: (number | undefined)[] = []
  waiting = 0

  queued(since: number | undefined) {
    if (!this.isHolding) return undefined
    this.queuedSince.push(since)
    this.waiting++
    return () => void this.waiting--
  }
}

async function start(t: Context, options: NbdServerOptions = {}, size = 64 * MiB) {
  const disk = new HoldingDisk(size)
  const served = await serve(t, [{ name: 'd', disk }], options)
  const join = async (structured = true) => (await served.connect()).go('d', { structured })
  return { disk, ...served, join, client: await join() }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2)
}

function patterned(bytes: number): Buffer<ArrayBuffer> {
  const buffer = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += 4) buffer.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at)
  return buffer
}

describe('NBD server, long payload', { timeout }, () => {
  test('is written and read in pieces of 1 MiB, with one reply', async (t) => {
    const { disk, client, join } = await start(t)
    const bytes = patterned(5 * MiB)
    const from = 3 * MiB + 4096
    assert.equal((await client.ask(nbd.CMD_WRITE, from, bytes.length, nbd.CMD_FLAG_FUA, bytes)).errno, 0)
    assert.ok(disk.content.subarray(from, from + bytes.length).equals(bytes))
    assert.equal(disk.calls.length, 6)
    assert.ok(disk.calls.every((call) => call.endsWith(' fua')))
    client.send(client.request(nbd.CMD_READ, from, bytes.length))
    const read = Buffer.alloc(bytes.length)
    for (let done = false; !done; ) {
      const chunk = await client.reply()
      chunk.payload.copy(read, Number(chunk.payload.readBigUInt64BE(0)) - from, 8)
      done = chunk.done
    }
    assert.ok(read.equals(bytes))
    const simple = await join(false)
    assert.ok((await simple.ask(nbd.CMD_READ, from, bytes.length)).payload.equals(bytes))
  })

  for (const type of [nbd.CMD_WRITE, nbd.CMD_READ]) {
    test(`${nbd.COMMANDS[type]}: a piece that fails is one error at the end, and the next request is understood`, async (t) => {
      const { disk, client, server } = await start(t)
      disk.before = (call) => (call.includes(` ${2 * MiB}+`) ? Promise.reject({ code: 'ENOSPC' }) : undefined)
      const payload = Buffer.alloc(type === nbd.CMD_WRITE ? 4 * MiB : 0)
      client.send(client.request(type, 0, 4 * MiB), payload)
      let last = await client.reply()
      for (; !last.done; last = await client.reply()) assert.equal(last.errno, 0)
      assert.equal(last.errno, nbd.ENOSPC)
      assert.equal((await client.ask(nbd.CMD_READ, 0, 512)).errno, 0)
      assert.deepEqual([server.stats.errors, server.stats.inFlight], [1, 0])
    })
  }

  test('of many clients that stop in the middle is bounded, and others are served', async (t) => {
    const { disk, join, client } = await start(t, { maxTotalBytes: 4 * MiB })
    const gate = Promise.withResolvers<void>()
    disk.before = (call) => (call.startsWith('write') ? gate.promise : undefined)
    for (let index = 0; index < 20; index++) {
      const half = await join()
      half.send(half.request(nbd.CMD_WRITE, 0, 32 * MiB), Buffer.alloc(4 * MiB))
    }
    await until(() => disk.calls.length >= 20)
    await sleep(100)
    assert.ok(disk.calls.length <= 25, `${disk.calls.length} MiB of 80 were taken`)
    assert.equal((await client.ask(nbd.CMD_READ, 0, 4096)).errno, 0)
    gate.resolve()
  })

  test('that has to be one piece is taken for one client at a time; one that does not take it makes room', async (t) => {
    const { disk, join } = await start(t, { maxTotalBytes: 4 * MiB, idleTimeout: 400 })
    const [lazy, next, last] = await Promise.all([join(false), join(false), join(false)])
    lazy.socket.pause()
    lazy.send(lazy.request(nbd.CMD_READ, 0, 32 * MiB))
    await until(() => disk.calls.length === 1)
    await sleep(600)
    assert.equal(lazy.socket.destroyed, false, 'nobody else wants it')
    for (const client of [next, last]) client.send(client.request(nbd.CMD_READ, MiB, 32 * MiB))
    await sleep(50)
    assert.equal(disk.calls.length, 1)
    assert.equal((await next.reply(32 * MiB)).payload.length, 32 * MiB)
    assert.equal((await last.reply(32 * MiB)).payload.length, 32 * MiB)
  })

  test('of clients that go away in the middle of it is had back', async (t) => {
    let lent = 0
    const { take, give } = PayloadBuffers.prototype
    PayloadBuffers.prototype.take = function (bytes) {
      lent++
      return take.call(this, bytes)
    }
    PayloadBuffers.prototype.give = function (buffer) {
      lent--
      give.call(this, buffer)
    }
    t.after(() => Object.assign(PayloadBuffers.prototype, { take, give }))
    const { join, server } = await start(t)
    for (let index = 0; index < 10; index++) {
      const client = await join()
      client.send(client.request(nbd.CMD_WRITE, 0, index % 2 === 0 ? 65_536 : 16 * MiB), Buffer.alloc(65_535))
      await until(() => server.stats.writes === index + 1)
      client.socket.destroy()
    }
    await until(() => server.stats.connections === 1)
    assert.deepEqual([lent, server.stats.inFlight], [0, 0])
  })
})

describe('NBD server, silent clients', { timeout }, () => {
  test('one that stops in the middle of a request is dropped, one between requests is not', async (t) => {
    const { client, join, server } = await start(t, { idleTimeout: 200 })
    const [header, payload, waste] = [await join(), await join(), await join()]
    header.send(header.request(nbd.CMD_READ, 0, 512).subarray(0, 20))
    payload.send(payload.request(nbd.CMD_WRITE, 0, 4096), Buffer.alloc(100))
    waste.send(waste.request(nbd.CMD_WRITE, 64 * MiB, 4096), Buffer.alloc(100))
    await Promise.all([header, payload, waste].map((stuck) => stuck.ended()))
    await until(() => server.stats.connections === 1)
    assert.equal((await client.ask(nbd.CMD_READ, 0, 512)).errno, 0)
  })

  test('one is not dropped because the server itself was held up', async (t) => {
    const { client, server } = await start(t, { idleTimeout: 200 })
    const request = client.request(nbd.CMD_READ, 0, 512)
    client.send(request.subarray(0, 20))
    // The server has begun to look, and found it in the middle of a request.
    await sleep(75)
    // Timers come next, before what was sent is read.
    await turn()
    client.send(request.subarray(20))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
    assert.equal((await client.reply()).errno, 0)
    assert.equal(server.stats.connections, 1)
  })

  test('one that is slow is not dropped, nor one that waits for a slow disk', async (t) => {
    const { disk, client, join } = await start(t, { idleTimeout: 300, maxBytes: 100_000 })
    const slow = Promise.withResolvers<void>()
    disk.before = (call) => (call.startsWith('write 0+') ? slow.promise : undefined)
    for (let index = 0; index < 3; index++)
      client.send(client.request(nbd.CMD_WRITE, index * 65_536, 65_536), Buffer.alloc(65_536))
    const trickling = await join()
    trickling.send(trickling.request(nbd.CMD_WRITE, 8 * MiB, 10))
    for (let index = 0; index < 10; index++) {
      await sleep(100)
      trickling.send(Buffer.alloc(1, index))
    }
    assert.equal((await trickling.reply()).errno, 0)
    slow.resolve()
    for (let index = 0; index < 3; index++) assert.equal((await client.reply()).errno, 0)
  })
})

describe('NBD server, changes that a backup holds', { timeout }, () => {
  const held = async (t: Context) => {
    const it = await start(t, { maxRequests: 8, maxBytes: 2 * MiB, maxTotalBytes: 2 * MiB })
    const gate = Promise.withResolvers<void>()
    it.disk.before = (call) => (call.startsWith('read') ? undefined : gate.promise)
    return { ...it, gate }
  }

  test('hide no reads, however many they are', async (t) => {
    const { disk, client, gate } = await held(t)
    disk.isHolding = true
    for (let index = 0; index < 200; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, 4096, { cookie: index }), Buffer.alloc(4096))
    for (let index = 200; index < 220; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, MiB, { cookie: index }), Buffer.alloc(MiB))
    for (let index = 220; index < 300; index++)
      client.send(client.request(nbd.CMD_WRITE_ZEROES, 0, MiB, { cookie: index }))
    client.send(client.request(nbd.CMD_READ, 0, 4096, { cookie: 999 }))
    assert.equal((await client.reply()).cookie, 999)
    gate.resolve()
    for (let index = 0; index < 300; index++) assert.equal((await client.reply()).errno, 0)
  })

  test('without a backup no more than the limits are taken, and a read finds room beside them', async (t) => {
    const { disk, client, gate } = await held(t)
    for (let index = 0; index < 8; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, 4096, { cookie: index }), Buffer.alloc(4096))
    client.send(client.request(nbd.CMD_READ, 0, 4096, { cookie: 99 }))
    for (let index = 8; index < 20; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, 4096, { cookie: index }), Buffer.alloc(4096))
    assert.equal((await client.reply()).cookie, 99)
    const writes = () => disk.calls.filter((call) => call.startsWith('write')).length
    await until(() => writes() === 8)
    await sleep(30)
    assert.equal(writes(), 8)
    assert.equal(disk.waiting, 0)
    gate.resolve()
    for (let index = 0; index < 20; index++) assert.equal((await client.reply()).errno, 0)
  })

  test('are counted from when they were in the socket, beyond all limits', async (t) => {
    const { disk, client, gate } = await held(t)
    disk.isHolding = true
    const since: (number | undefined)[] = []
    const write = disk.write.bind(disk)
    disk.write = (buffers, offset, options: ChangeOptions = {}) => {
      since.push(options.since)
      return write(buffers, offset)
    }
    const sent = performance.now()
    for (let index = 0; index < 65; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, MiB, { cookie: index }), Buffer.alloc(MiB))
    for (let index = 65; index < 68; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, 512, { cookie: index }), Buffer.alloc(512))
    await until(() => disk.waiting === 1)
    const paused = performance.now()
    await sleep(100)
    gate.resolve()
    for (let index = 0; index < 68; index++) assert.equal((await client.reply()).errno, 0)
    assert.equal(disk.waiting, 0)
    const known = since.filter((at) => at !== undefined)
    assert.ok(known.length > 0 && known.every((at) => at >= sent && at <= paused + 100))
    // What is sent later is not blamed on that.
    assert.equal((await client.ask(nbd.CMD_WRITE, 0, 512, 0, Buffer.alloc(512))).errno, 0)
    assert.equal(since.at(-1), undefined)
  })

  test('of a client that goes away meanwhile wait no more when the others go on', async (t) => {
    const { disk, client, gate } = await held(t)
    disk.isHolding = true
    for (let index = 0; index < 70; index++)
      client.send(client.request(nbd.CMD_WRITE, 0, MiB, { cookie: index }), Buffer.alloc(MiB))
    await until(() => disk.waiting === 1)
    client.socket.destroy()
    gate.resolve()
    await until(() => disk.waiting === 0)
  })
})
