import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { NbdClient, type NbdOptions } from '../../../src/protocol/nbd/client.ts'
import * as nbd from '../../../src/protocol/nbd/constants.ts'
import { type Peer, type Received, scripted, u16, u32, u64 } from './scripted-server.ts'

const timeout = 60_000
const DONE = nbd.REPLY_FLAG_DONE
const { REPLY_TYPE_OFFSET_DATA: DATA, REPLY_TYPE_OFFSET_HOLE: HOLE, REPLY_TYPE_BLOCK_STATUS: STATUS } = nbd

/** Connects to a server that agrees honestly and then answers the first request as it likes. */
async function against(
  t: TestContext,
  answer: (peer: Peer, request: Received) => unknown,
  options?: NbdOptions,
  terms?: Parameters<Peer['agree']>[0],
): Promise<NbdClient> {
  const address = await scripted(t, async (peer) => {
    await peer.agree(terms)
    await answer(peer, await peer.request())
  })
  return NbdClient.connect(address, options)
}

/** What a READ of 1000 bytes at 5000 is answered with. */
const lies: [string, RegExp, (peer: Peer, request: Received) => unknown][] = [
  ['replies with a wrong magic', /begins with 0x0/, (peer) => peer.send(Buffer.alloc(16))],
  [
    'replies to nothing we asked',
    /was not made/,
    (peer) => peer.chunk(Buffer.alloc(8, 1), DONE, DATA, u64(5000), Buffer.alloc(1000)),
  ],
  [
    'replies twice',
    /was not made/,
    (peer, { cookie }) => {
      peer.chunk(cookie, 0, DATA, u64(5000), Buffer.alloc(999))
      peer.chunk(cookie, DONE, DATA, u64(5999), Buffer.alloc(1))
      peer.chunk(cookie, DONE, DATA, u64(5000), Buffer.alloc(1000))
    },
  ],
  [
    'sends data before the request',
    /outside of its request/,
    (peer, { cookie }) => peer.chunk(cookie, 0, DATA, u64(4999), Buffer.alloc(10)),
  ],
  [
    'sends data after the request',
    /outside of its request/,
    (peer, { cookie }) => peer.chunk(cookie, 0, DATA, u64(6000), Buffer.alloc(1)),
  ],
  [
    'sends data from far away',
    /outside of its request/,
    (peer, { cookie }) => peer.chunk(cookie, 0, DATA, u64(2n ** 64n - 1n), Buffer.alloc(1)),
  ],
  [
    'sends more than was asked',
    /a chunk of bytes 999 to 1001/,
    (peer, { cookie }) => peer.chunk(cookie, 0, DATA, u64(5999), Buffer.alloc(2)),
  ],
  [
    'announces a chunk of 4 GiB',
    /a chunk of bytes 0 to 4294967287/,
    (peer, { cookie }) =>
      peer.send(u32(nbd.STRUCTURED_REPLY_MAGIC), u16(0), u16(DATA), cookie, u32(2 ** 32 - 1), u64(5000)),
  ],
  [
    'sends no data in a data chunk',
    /data chunk of 8 bytes/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, DATA, u64(5000)),
  ],
  [
    'sends a hole larger than the request',
    /a chunk of bytes 0 to 4294967295/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, HOLE, u64(5000), u32(2 ** 32 - 1)),
  ],
  [
    'sends a hole of another length',
    /hole chunk of 13 bytes/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, HOLE, Buffer.alloc(13)),
  ],
  [
    'sends the same bytes twice',
    /comes twice/,
    (peer, { cookie }) => {
      peer.chunk(cookie, 0, DATA, u64(5000), Buffer.alloc(600))
      peer.chunk(cookie, DONE, HOLE, u64(5599), u32(401))
    },
  ],
  [
    'leaves bytes out',
    /not complete/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, DATA, u64(5000), Buffer.alloc(999)),
  ],
  [
    'ends a reply without any data',
    /not complete/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, nbd.REPLY_TYPE_NONE),
  ],
  [
    'sends a chunk of no known type',
    /chunk of type 99/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, 99, Buffer.alloc(4)),
  ],
  [
    'sends a block status for a read',
    /chunk of type 5/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, STATUS, u32(5), u32(1), u32(0)),
  ],
  [
    'sends a simple reply after agreeing on chunks',
    /simple reply/,
    (peer, { cookie }) => peer.simple(cookie, 0, Buffer.alloc(1000)),
  ],
  [
    'sends an error chunk of 1 GiB',
    /error chunk of 1073741824/,
    (peer, { cookie }) => peer.chunkHeader(cookie, DONE, nbd.REPLY_TYPE_ERROR, 2 ** 30),
  ],
  [
    'sends an error whose text is too long',
    /longer than itself/,
    (peer, { cookie }) => peer.chunk(cookie, DONE, nbd.REPLY_TYPE_ERROR, u32(5), u16(60_000), Buffer.from('x')),
  ],
  [
    'dies in the middle',
    /closed the connection|reset/,
    (peer, { cookie }) => {
      peer.chunkHeader(cookie, DONE, DATA, 1008)
      peer.send(u64(5000), Buffer.alloc(500))
      peer.socket.end()
    },
  ],
]

for (const [name, message, answer] of lies) {
  test(`a server that ${name} ends the connection, and all requests with it`, { timeout }, async (t) => {
    const client = await against(t, answer)
    const reads = [client.read(Buffer.alloc(1000), 5000), client.read(Buffer.alloc(10), 0), client.flush()]
    const outcomes = await Promise.allSettled(reads)
    // The one lie ends them all; a reply that was complete before it may have counted.
    const reasons = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : null))
    assert.match(reasons[1].line, message)
    assert.equal(reasons[1].code, 'FAILED')
    assert.equal(reasons[2], reasons[1])
    await assert.rejects(client.read(Buffer.alloc(1), 0), { message })
    await client.close()
  })
}

test('chunks may come in any order, among those of others', { timeout }, async (t) => {
  const client = await against(t, async (peer, first) => {
    const second = await peer.request()
    peer.chunk(second.cookie, 0, HOLE, u64(100), u32(50))
    peer.chunk(first.cookie, 0, DATA, u64(500), Buffer.alloc(500, 2))
    peer.chunk(second.cookie, DONE, DATA, u64(150), Buffer.alloc(50, 3))
    peer.chunk(first.cookie, 0, DATA, u64(0), Buffer.alloc(500, 1))
    peer.chunk(first.cookie, DONE, nbd.REPLY_TYPE_NONE)
  })
  const [a, b] = [Buffer.alloc(1000, 0xee), Buffer.alloc(100, 0xee)]
  await Promise.all([client.read(a, 0), client.read(b, 100)])
  assert.ok(a.equals(Buffer.concat([Buffer.alloc(500, 1), Buffer.alloc(500, 2)])))
  assert.ok(b.equals(Buffer.concat([Buffer.alloc(50, 0), Buffer.alloc(50, 3)])))
  await client.close()
})

test("an error is its request's alone, and names what failed, where and why", { timeout }, async (t) => {
  const client = await against(t, async (peer, first) => {
    peer.chunk(first.cookie, 0, nbd.REPLY_TYPE_ERROR_OFFSET, u32(5), u16(9), Buffer.from('bad block'), u64(5010))
    peer.chunk(first.cookie, DONE, nbd.REPLY_TYPE_NONE)
    const second = await peer.request()
    peer.chunk(second.cookie, DONE, DATA, u64(0), Buffer.alloc(1, 4))
  })
  await assert.rejects(client.read(Buffer.alloc(1000), 5000), (error: any) => {
    assert.match(error.line, /READ of 1000 bytes failed: input\/output error \(EIO\): bad block \(byte 5000\)/)
    return true
  })
  const byte = Buffer.alloc(1)
  await client.read(byte, 0)
  assert.equal(byte[0], 4)
  await client.close()
})

test('an error in a simple reply has no payload', { timeout }, async (t) => {
  const client = await against(
    t,
    async (peer, { cookie }) => {
      peer.simple(cookie, 28)
      const second = await peer.request()
      peer.simple(second.cookie, 0, Buffer.from('ok'))
    },
    {},
    { structured: false },
  )
  await assert.rejects(client.read(Buffer.alloc(10), 0), { message: /no space left \(ENOSPC\)/ })
  const buffer = Buffer.alloc(2)
  await client.read(buffer, 0)
  assert.equal(String(buffer), 'ok')
  await client.close()
})

test('a server that hangs is given up, and all requests fail', { timeout }, async (t) => {
  const client = await against(t, () => {}, { progressTimeout: 60 })
  const outcomes = await Promise.allSettled([client.read(Buffer.alloc(10), 0), client.write([Buffer.alloc(10)], 0)])
  for (const outcome of outcomes) assert.match((outcome as any).reason.message, /has not answered for 0.06 s/)
  await client.close()
})

test('a connection without requests may be idle for as long as it likes', { timeout }, async (t) => {
  const client = await against(t, (peer, { cookie }) => peer.chunk(cookie, DONE, HOLE, u64(0), u32(10)), {
    progressTimeout: 1000,
  })
  await new Promise((resolve) => setTimeout(resolve, 3000))
  await client.read(Buffer.alloc(10), 0)
  await client.close()
})

test('close fails what is in flight at once', { timeout }, async (t) => {
  const client = await against(t, () => {})
  const reading = assert.rejects(client.read(Buffer.alloc(10), 0), { message: /closed/ })
  await client.close()
  await reading
})

test('no more requests are in flight than agreed, and all are answered', { timeout }, async (t) => {
  let most = 0
  const address = await scripted(t, async (peer) => {
    await peer.agree()
    for (let answered = 0; answered < 30; ) {
      const batch = [await peer.request()]
      await new Promise((resolve) => setTimeout(resolve, 5))
      while (batch.length < Math.min(4, 30 - answered)) batch.push(await peer.request())
      most = Math.max(most, batch.length)
      for (const { cookie, offset, length } of batch) {
        peer.chunk(cookie, DONE, DATA, u64(offset), Buffer.alloc(length, offset / 100))
        answered++
      }
    }
  })
  const client = await NbdClient.connect(address, { depth: 4 })
  await Promise.all(
    Array.from({ length: 30 }, async (_, i) => {
      const buffer = Buffer.alloc(100)
      await client.read(buffer, i * 100)
      assert.ok(buffer.equals(Buffer.alloc(100, i)))
    }),
  )
  assert.equal(most, 4)
  await client.close()
})

const statusLies: [string, RegExp, Uint8Array[]][] = [
  ['for another context', /context 6/, [u32(6), u32(4096), u32(0)]],
  ['without extents', /block status of 4 bytes/, [u32(5)]],
  ['with half an extent', /block status of 10 bytes/, [u32(5), Buffer.alloc(6)]],
  ['with an extent of no bytes', /extent of no bytes/, [u32(5), u32(0), u32(0)]],
]

for (const [name, message, payload] of statusLies) {
  test(`a block status ${name} ends the connection`, { timeout }, async (t) => {
    const client = await against(t, (peer, { cookie }) => peer.chunk(cookie, DONE, STATUS, ...payload))
    await assert.rejects(client.extents(0, 8192).next(), { message })
    await assert.rejects(client.read(Buffer.alloc(1), 0), { message })
    await client.close()
  })
}

test('a block status of billions of extents is refused before anything is kept', { timeout }, async (t) => {
  const client = await against(t, (peer, { cookie }) => peer.chunkHeader(cookie, DONE, STATUS, 2 ** 32 - 4))
  await assert.rejects(client.extents(0, 8192).next(), { message: /block status of 4294967292 bytes/ })
  await client.close()
})

test('extents that reach too far are cut, and what is missing is asked for', { timeout }, async (t) => {
  const client = await against(t, async (peer, { cookie }) => {
    peer.chunk(cookie, DONE, STATUS, u32(5), u32(100), u32(0), u32(100), u32(3))
    const second = await peer.request()
    assert.deepEqual([second.offset, second.length], [200, 100])
    peer.chunk(second.cookie, DONE, STATUS, u32(5), u32(2 ** 31), u32(0))
  })
  const extents = []
  for await (const extent of client.extents(0, 300)) extents.push(extent)
  assert.deepEqual(extents, [
    { offset: 0, length: 100, flags: 0 },
    { offset: 100, length: 100, flags: 3 },
    { offset: 200, length: 100, flags: 0 },
  ])
  await client.close()
})

test('a write is sent as it is, and not before the reply are the buffers given back', { timeout }, async (t) => {
  let replied = false
  const client = await against(t, async (peer, { cookie, type, flags, offset, length }) => {
    assert.deepEqual([type, flags, offset, length], [nbd.CMD_WRITE, nbd.CMD_FLAG_FUA, 77, 9])
    assert.equal(String(await peer.read(9)), 'onetwofor')
    replied = true
    peer.chunk(cookie, DONE, nbd.REPLY_TYPE_NONE)
  })
  await client.write([Buffer.from('one'), Buffer.alloc(0), Buffer.from('two'), Buffer.from('for')], 77, { fua: true })
  assert.ok(replied)
  await client.close()
})

test('a write whose reply comes before its payload was taken fails with the connection', { timeout }, async (t) => {
  const client = await against(t, (peer, { cookie }) => {
    // Nobody reads the payload: it waits in the sockets.
    peer.socket.pause()
    peer.chunk(cookie, DONE, nbd.REPLY_TYPE_NONE)
    setTimeout(() => peer.socket.destroy(), 50)
  })
  await assert.rejects(client.write([Buffer.alloc(2 ** 20)], 0), { code: 'FAILED' })
  await client.close()
})
