import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../../../src/core/errors.ts'
import * as nbd from '../../../../src/protocol/nbd/constants.ts'
import type { NbdServerOptions } from '../../../../src/protocol/nbd/server/server.ts'
import { MemoryDisk } from './memory-disk.ts'
import { serve, type WireClient } from './wire-client.ts'

const timeout = 60_000
const MiB = 2 ** 20

interface Setup extends NbdServerOptions {
  structured?: boolean
  readOnly?: boolean
  size?: number
}

type Context = Parameters<typeof serve>[0]

async function start(t: Context, { structured, readOnly, size = MiB, ...options }: Setup = {}) {
  const disk = new MemoryDisk(size)
  const served = await serve(t, [{ name: 'd', disk, readOnly }], options)
  return { disk, ...served, client: await (await served.connect()).go('d', { structured }) }
}

/** A promise and the means to settle it. */
function gate() {
  return Promise.withResolvers<void>()
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2)
}

describe('NBD server, requests', { timeout }, () => {
  for (const structured of [false, true]) {
    const how = structured ? 'in chunks' : 'simply'
    test(`writes, reads back, zeroes and trims, answered ${how}`, async (t) => {
      const { disk, client } = await start(t, { structured })
      const bytes = Buffer.from(Array.from({ length: 70_001 }, (_, i) => (i * 7) % 251))
      assert.equal((await client.ask(nbd.CMD_WRITE, 4097, bytes.length, 0, bytes)).errno, 0)
      const read = await client.ask(nbd.CMD_READ, 4097, bytes.length)
      assert.ok(read.payload.subarray(structured ? 8 : 0).equals(bytes))
      if (structured) assert.equal(read.payload.readBigUInt64BE(0), 4097n)
      const zeroed = await client.ask(nbd.CMD_WRITE_ZEROES, 5000, 100, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FAST_ZERO)
      assert.equal(zeroed.errno, 0)
      await client.ask(nbd.CMD_TRIM, 10_000, 5000)
      await client.ask(nbd.CMD_CACHE, 0, 4096)
      assert.deepEqual(disk.calls, [
        'write 4097+70001',
        'read 4097+70001',
        'zero 5000+100 noHole fast',
        'trim 10000+5000',
        'prefetch 0+4096',
      ])
    })

    test(`requests for no bytes succeed, answered ${how}`, async (t) => {
      const { client } = await start(t, { structured })
      for (const type of [nbd.CMD_READ, nbd.CMD_WRITE, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES, nbd.CMD_CACHE]) {
        const reply = await client.ask(type, MiB, 0)
        assert.deepEqual([reply.errno, reply.done, reply.payload.length], [0, true, 0])
      }
    })
  }

  test('a read with "do not fragment" is one chunk', async (t) => {
    const { client } = await start(t, { size: 32 * MiB })
    const reply = await client.ask(nbd.CMD_READ, 0, 32 * MiB, nbd.CMD_FLAG_DF)
    assert.deepEqual([reply.type, reply.done, reply.payload.length], [nbd.REPLY_TYPE_OFFSET_DATA, true, 32 * MiB + 8])
  })

  test('replies go out as requests are done, not as they came', async (t) => {
    const { disk, client } = await start(t)
    const slow = gate()
    disk.before = (call) => (call === 'read 0+512' ? slow.promise : undefined)
    client.send(
      client.request(nbd.CMD_READ, 0, 512, { cookie: 1 }),
      client.request(nbd.CMD_READ, 512, 512, { cookie: 2 }),
    )
    assert.equal((await client.reply()).cookie, 2)
    slow.resolve()
    assert.equal((await client.reply()).cookie, 1)
  })

  test('FLUSH and FUA are answered when the disk says so, not before', async (t) => {
    const { disk, client } = await start(t)
    const durable = gate()
    const log: string[] = []
    disk.before = (call) => durable.promise.then(() => void log.push(`${call} done`))
    client.send(
      client.request(nbd.CMD_FLUSH, 0, 0),
      client.request(nbd.CMD_WRITE, 0, 4, { flags: nbd.CMD_FLAG_FUA }),
      Buffer.from('abcd'),
      client.request(nbd.CMD_TRIM, 0, 4096, { flags: nbd.CMD_FLAG_FUA }),
      client.request(nbd.CMD_WRITE_ZEROES, 0, 4096, { flags: nbd.CMD_FLAG_FUA }),
    )
    await until(() => disk.calls.length === 4)
    await sleep(20)
    assert.equal(client.buffered, 0, 'nothing was answered yet')
    durable.resolve()
    for (let i = 0; i < 4; i++) {
      assert.equal((await client.reply()).errno, 0)
      log.push('reply')
    }
    assert.deepEqual(disk.calls, ['flush', 'write 0+4 fua', 'trim 0+4096 fua', 'zero 0+4096 fua'])
    assert.equal(log.indexOf('flush done'), 0)
  })

  test('block status: extents that cover the range, or just the first', async (t) => {
    const { disk, client } = await start(t)
    disk.content.fill(1, 65536, 65536 * 3)
    const all = await client.ask(nbd.CMD_BLOCK_STATUS, 1000, 400_000)
    const numbers = Array.from({ length: all.payload.length / 4 }, (_, i) => all.payload.readUInt32BE(4 * i))
    // The disk is looked at in pieces of 64 KiB from byte 1000 on.
    assert.deepEqual(numbers, [1, 196_608, 0, 203_392, 3])
    const one = await client.ask(nbd.CMD_BLOCK_STATUS, 300_000, 400_000, nbd.CMD_FLAG_REQ_ONE)
    assert.equal(one.payload.toString('hex'), '0000000100061a8000000003')
  })
})

describe('NBD server, requests that make no sense', { timeout }, () => {
  const past = MiB - 100
  const cases: [string, (client: WireClient) => Buffer[], number][] = [
    ['a read past the end', (c) => [c.request(nbd.CMD_READ, past, 101)], nbd.EINVAL],
    ['a read at 2^64 - 1', (c) => [wrap(c.request(nbd.CMD_READ, 0, 512))], nbd.EINVAL],
    ['a read of 32 MiB and a byte', (c) => [c.request(nbd.CMD_READ, 0, 32 * MiB + 1)], nbd.EINVAL],
    [
      'the same in one piece',
      (c) => [c.request(nbd.CMD_READ, 0, 32 * MiB + 1, { flags: nbd.CMD_FLAG_DF })],
      nbd.EOVERFLOW,
    ],
    ['a write past the end', (c) => [c.request(nbd.CMD_WRITE, past, 101), Buffer.alloc(101)], nbd.ENOSPC],
    ['a write at 2^64 - 1', (c) => [wrap(c.request(nbd.CMD_WRITE, 0, 512)), Buffer.alloc(512)], nbd.ENOSPC],
    ['a write of 33 MiB', (c) => [c.request(nbd.CMD_WRITE, 0, 33 * MiB), Buffer.alloc(33 * MiB)], nbd.EINVAL],
    [
      'a write with a flag of reads',
      (c) => [c.request(nbd.CMD_WRITE, 0, 4, { flags: 4 }), Buffer.alloc(4)],
      nbd.EINVAL,
    ],
    ['zeroes past the end', (c) => [c.request(nbd.CMD_WRITE_ZEROES, 0, 2 ** 32 - 1)], nbd.ENOSPC],
    ['a trim past the end', (c) => [c.request(nbd.CMD_TRIM, past, 101)], nbd.EINVAL],
    ['a status past the end', (c) => [c.request(nbd.CMD_BLOCK_STATUS, past, 101)], nbd.EINVAL],
    ['a status of nothing', (c) => [c.request(nbd.CMD_BLOCK_STATUS, 0, 0)], nbd.EINVAL],
    ['a command that there is not', (c) => [c.request(77, 0, 0)], nbd.EINVAL],
    ['a resize', (c) => [c.request(8, 0, 0)], nbd.EINVAL],
    ['a flag that there is not', (c) => [c.request(nbd.CMD_READ, 0, 512, { flags: 1 << 15 })], nbd.EINVAL],
  ]
  for (const [name, bytes, errno] of cases) {
    test(`${name} is refused, nothing is done, and the next request is understood`, async (t) => {
      const { disk, client } = await start(t)
      client.send(...bytes(client))
      assert.equal((await client.reply()).errno, errno)
      assert.deepEqual(disk.calls, [])
      assert.equal((await client.ask(nbd.CMD_READ, 0, 512)).errno, 0)
    })
  }

  test('nothing is written through a read-only export', async (t) => {
    const { disk, client } = await start(t, { readOnly: true })
    for (const type of [nbd.CMD_WRITE, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES]) {
      const payload = Buffer.alloc(type === nbd.CMD_WRITE ? 512 : 0)
      assert.equal((await client.ask(type, 0, 512, 0, payload)).errno, nbd.EPERM)
    }
    assert.equal((await client.ask(nbd.CMD_FLUSH, 0, 0)).errno, 0)
    assert.deepEqual(disk.calls, ['flush'])
  })

  test('without structured replies errors are simple, and DF is one', async (t) => {
    const { client } = await start(t, { structured: false })
    const reply = await client.ask(nbd.CMD_READ, 0, 512, nbd.CMD_FLAG_DF)
    assert.deepEqual([reply.type, reply.errno], [null, nbd.EINVAL])
    assert.equal((await client.ask(nbd.CMD_BLOCK_STATUS, 0, 512)).errno, nbd.EINVAL)
  })

  test('a request without magic ends the connection', async (t) => {
    const { disk, client } = await start(t)
    client.send(Buffer.alloc(28))
    await client.ended()
    assert.deepEqual(disk.calls, [])
  })

  const kinds: [unknown, number][] = [
    [Object.assign(new Error(), { code: 'ENOSPC' }), nbd.ENOSPC],
    [Object.assign(new Error(), { code: 'EDQUOT' }), nbd.ENOSPC],
    [Object.assign(new Error(), { code: 'EROFS' }), nbd.EPERM],
    [new VmapipeError('FAILED', 'x', { cause: Object.assign(new Error(), { code: 'ENOTSUP' }) }), nbd.ENOTSUP],
    [new VmapipeError('FAILED', 'x'), nbd.EIO],
    ['a string', nbd.EIO],
    [undefined, nbd.EIO],
  ]
  for (const [error, errno] of kinds) {
    test(`what a disk throws becomes an error of the protocol: ${errno}`, async (t) => {
      const { disk, client, server } = await start(t)
      for (const before of [
        () => Promise.reject(error),
        () => {
          throw error
        },
      ]) {
        disk.before = before
        assert.equal((await client.ask(nbd.CMD_WRITE, 0, 4, 0, Buffer.alloc(4))).errno, errno)
        assert.equal((await client.ask(nbd.CMD_READ, 0, 4)).errno, errno)
        assert.equal((await client.ask(nbd.CMD_FLUSH, 0, 0)).errno, errno)
      }
      assert.equal(server.stats.errors, 6)
      assert.equal(server.stats.inFlight, 0)
    })
  }
})

test('who serves is told what a disk failed, with the error itself', { timeout }, async (t) => {
  const failures: unknown[] = []
  const { disk, client } = await start(t, { onDiskError: (failure) => failures.push(failure) })
  const error = Object.assign(new Error('the disk says so'), { code: 'EIO' })
  disk.before = () => Promise.reject(error)
  await client.ask(nbd.CMD_READ, 4096, 512)
  assert.deepEqual(failures, [{ exportName: 'd', command: 'READ', offset: 4096, length: 512, error }])
  disk.before = () => Promise.reject(Object.assign(new Error(), { code: 'ENOTSUP' }))
  await client.ask(nbd.CMD_WRITE_ZEROES, 0, 512, nbd.CMD_FLAG_FAST_ZERO)
  assert.equal(failures.length, 1)
})

describe('NBD server, limits', { timeout }, () => {
  test('requests in flight are bounded: what comes beyond waits in the socket', async (t) => {
    const { disk, client } = await start(t, { maxRequests: 5 })
    const slow = gate()
    disk.before = () => slow.promise
    for (let i = 0; i < 50; i++) client.send(client.request(nbd.CMD_READ, i * 512, 512, { cookie: i }))
    await until(() => disk.calls.length === 5)
    await sleep(30)
    assert.equal(disk.calls.length, 5)
    slow.resolve()
    const cookies = new Set<number>()
    for (let i = 0; i < 50; i++) cookies.add((await client.reply()).cookie)
    assert.equal(cookies.size, 50)
  })

  test('bytes in flight are bounded, and one request larger than the bound is taken alone', async (t) => {
    const { disk, client } = await start(t, { maxBytes: 300_000, size: 8 * MiB })
    const slow = gate()
    disk.before = () => slow.promise
    for (let i = 0; i < 8; i++) {
      client.send(client.request(nbd.CMD_WRITE, i * 100_000, 100_000, { cookie: i }), Buffer.alloc(100_000, i + 1))
    }
    client.send(client.request(nbd.CMD_READ, 0, 4 * MiB, { cookie: 8, flags: nbd.CMD_FLAG_DF }))
    await until(() => disk.calls.length === 2)
    await sleep(30)
    assert.equal(disk.calls.length, 2, '131072 bytes are kept for each')
    slow.resolve()
    for (let i = 0; i < 9; i++) assert.equal((await client.reply()).errno, 0)
    assert.ok(disk.content.subarray(700_000, 800_000).equals(Buffer.alloc(100_000, 8)))
  })

  test('a client that reads no replies is not read from, and harms nobody', async (t) => {
    const { disk, client, connect, server } = await start(t, { maxBytes: MiB, size: 64 * MiB })
    client.socket.pause()
    for (let i = 0; i < 1000; i++) client.send(client.request(nbd.CMD_READ, 0, 262_144, { cookie: i }))
    let before = -1
    while (before !== disk.calls.length) {
      before = disk.calls.length
      await sleep(50)
    }
    assert.ok(before < 30, `${before} of 1000 requests were read`)
    const other = await (await connect()).go('d')
    for (let i = 0; i < 100; i++) assert.equal((await other.ask(nbd.CMD_READ, 0, 4096)).errno, 0)
    client.socket.resume()
    for (let i = 0; i < 1000; i++) assert.equal((await client.reply()).errno, 0)
    assert.equal(server.stats.reads, 1100)
  })

  test('a client whose replies nobody takes is forgotten when it goes', async (t) => {
    const { client, server } = await start(t, { maxBytes: MiB, size: 64 * MiB })
    client.socket.pause()
    for (let i = 0; i < 100; i++) client.send(client.request(nbd.CMD_READ, 0, 262_144, { cookie: i }))
    await until(() => server.stats.reads === 3)
    await sleep(20)
    client.socket.destroy()
    await until(() => server.stats.connections === 0)
    assert.equal(server.stats.inFlight, 0)
  })

  test('refused requests count as requests too', async (t) => {
    const { client, server } = await start(t, { maxRequests: 4 })
    client.socket.pause()
    const bad = client.request(77, 0, 0)
    const many = Buffer.concat(Array.from({ length: 100_000 }, () => bad))
    client.socket.write(many)
    await sleep(200)
    const answered = server.stats.errors
    assert.ok(answered < 100_000, `${answered} refusals that nobody reads`)
    client.socket.resume()
    for (let i = 0; i < 1000; i++) assert.equal((await client.reply()).errno, nbd.EINVAL)
  })
})

/** The same request with the last offset that there is. */
function wrap(request: Buffer): Buffer {
  return request.fill(0xff, 16, 24)
}
