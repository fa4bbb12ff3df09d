import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import * as nbd from '../../../src/protocol/nbd/constants.ts'
import { type Peer, scripted, u16, u32, u64 } from './scripted-server.ts'

const timeout = 60_000
const { OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT, REP_ACK, REP_INFO, REP_META_CONTEXT } = nbd

/** Greets and refuses structured replies, up to the client's OPT_GO. */
async function untilGo(peer: Peer): Promise<void> {
  peer.greet()
  await peer.read(4)
  const { option } = await peer.option()
  peer.reply(option, nbd.REP_ERR_UNSUP)
  assert.equal((await peer.option()).option, OPT_GO)
}

const exportInfo = (size: number | bigint) => [u16(nbd.INFO_EXPORT), u64(size), u16(nbd.FLAG_HAS_FLAGS)]
const blockSizes = (min: number, preferred: number, max: number) => [
  u16(nbd.INFO_BLOCK_SIZE),
  u32(min),
  u32(preferred),
  u32(max),
]

const cases: [string, RegExp, (peer: Peer) => unknown][] = [
  ['is no NBD server', /not an NBD server/, (peer) => peer.send(Buffer.from('SSH-2.0-OpenSSH_9.2 and more'))],
  ['is oldstyle', /oldstyle/, (peer) => peer.send(u64(nbd.NBDMAGIC), u64(nbd.OLDSTYLE_MAGIC), Buffer.alloc(136))],
  ['has a second magic of its own', /protocol/, (peer) => peer.send(u64(nbd.NBDMAGIC), Buffer.alloc(50, 7))],
  ['hangs up in its greeting', /closed the connection/, (peer) => peer.socket.end(u64(nbd.NBDMAGIC))],
  [
    'answers an option that was not sent',
    /reply to option 7/,
    async (peer) => {
      peer.greet()
      peer.reply(OPT_GO, REP_ACK)
    },
  ],
  [
    'announces a reply of 4 GiB',
    /reply of 4294967295 bytes/,
    (peer) => {
      peer.greet()
      peer.send(u64(nbd.OPTION_REPLY_MAGIC), u32(OPT_STRUCTURED_REPLY), u32(REP_ACK), u32(2 ** 32 - 1))
    },
  ],
  [
    'begins a reply with a wrong magic',
    /reply begins with 0x101010101010101/,
    (peer) => {
      peer.greet()
      peer.send(Buffer.alloc(100, 1))
    },
  ],
  [
    'never ends its list of contexts',
    /more than 64 replies/,
    async (peer) => {
      peer.greet()
      await peer.read(4)
      peer.reply((await peer.option()).option, REP_ACK)
      for (let i = 0; i < 100; i++) peer.reply(OPT_SET_META_CONTEXT, REP_META_CONTEXT, u32(i), Buffer.from('x'))
    },
  ],
  [
    'has no size',
    /without the size/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, REP_ACK)
    },
  ],
  [
    'has a size that no disk has',
    /18446744073709551615/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, REP_INFO, ...exportInfo(2n ** 64n - 1n))
    },
  ],
  [
    'describes its export in too few bytes',
    /export information of 5 bytes/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, REP_INFO, u16(nbd.INFO_EXPORT), Buffer.alloc(3))
    },
  ],
  ...[
    blockSizes(0, 1, 2),
    blockSizes(3, 4096, 8192),
    blockSizes(131072, 131072, 131072),
    blockSizes(4096, 4096, 512),
  ].map((sizes): [string, RegExp, (peer: Peer) => unknown] => [
    `wants blocks ${Buffer.concat(sizes).toString('hex', 2)}`,
    /block sizes/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, REP_INFO, ...sizes)
    },
  ]),
  [
    'takes one byte at a time',
    /at most 1 bytes in a request/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, REP_INFO, ...blockSizes(1, 1, 1))
      peer.reply(OPT_GO, REP_INFO, ...exportInfo(2 ** 30))
      peer.reply(OPT_GO, REP_ACK)
    },
  ],
  [
    'does not know the export',
    /has no export 'disk': gone fishing/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, nbd.REP_ERR_UNKNOWN, Buffer.from('gone fishing'))
    },
  ],
  [
    'insists on TLS',
    /TLS/,
    async (peer) => {
      await untilGo(peer)
      peer.reply(OPT_GO, nbd.REP_ERR_TLS_REQD)
    },
  ],
  [
    'hangs up on the export name',
    /closed the connection/,
    async (peer) => {
      peer.greet(0)
      await peer.read(4)
      await peer.option()
      peer.socket.end()
    },
  ],
]

for (const [name, message, script] of cases) {
  test(`a server that ${name} is refused in one clear line`, { timeout }, async (t: TestContext) => {
    const address = await scripted(t, script)
    await assert.rejects(NbdClient.connect(address), (error: any) => {
      assert.equal(error.code, 'FAILED')
      assert.match(error.line, message)
      assert.match(error.line, /^nbd\+unix:\/\/\/disk\?socket=/)
      assert.ok(error.line.length < 400)
      return true
    })
  })
}

test('a server that says nothing is given up after the time for it', { timeout }, async (t) => {
  const address = await scripted(t, () => {})
  await assert.rejects(NbdClient.connect(address, { connectTimeout: 50 }), {
    message: /no NBD handshake within 0.05 s/,
  })
})

test('an abort ends the handshake', { timeout }, async (t) => {
  const address = await scripted(t, () => {})
  await assert.rejects(NbdClient.connect(address, { signal: AbortSignal.timeout(30) }))
})

test('a server that is not there is an error with its socket', { timeout }, async () => {
  const address = { socketPath: '/nonexistent/s', exportName: '' }
  await assert.rejects(NbdClient.connect(address), { code: 'FAILED', message: /nonexistent\/s: no such file/ })
})

test('an old server that pads the export name reply is understood', { timeout }, async (t) => {
  const address = await scripted(t, async (peer) => {
    peer.greet(0)
    assert.deepEqual(await peer.read(4), u32(0))
    const { option, data } = await peer.option()
    assert.equal(option, nbd.OPT_EXPORT_NAME)
    assert.equal(String(data), 'disk')
    peer.send(u64(4096), u16(nbd.FLAG_HAS_FLAGS), Buffer.alloc(124))
    const { cookie, length } = await peer.request()
    peer.simple(cookie, 0, Buffer.alloc(length, 9))
  })
  const client = await NbdClient.connect(address)
  assert.equal(client.size, 4096)
  const buffer = Buffer.alloc(4096)
  await client.read(buffer, 0)
  assert.ok(buffer.equals(Buffer.alloc(4096, 9)))
  await client.close()
})
