import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as nbd from '../../../../src/protocol/nbd/constants.ts'
import { encodeGo, encodeMetaContext, encodeOption } from '../../../../src/protocol/nbd/requests.ts'
import { MemoryDisk } from './memory-disk.ts'
import { type Served, serve, type WireClient } from './wire-client.ts'

const timeout = 60_000

async function greeted(served: Served): Promise<WireClient> {
  const client = await served.connect()
  await client.greet()
  return client
}

const twoDisks = () => [
  { name: 'drive-scsi0', description: 'the system', disk: new MemoryDisk(2 ** 20) },
  { name: 'drive-scsi1', disk: new MemoryDisk(4096, true) },
]

const types = (replies: { type: number }[]) => replies.map(({ type }) => type)

describe('NBD server, handshake', { timeout }, () => {
  test('greets as the fixed newstyle wants it', async (t) => {
    const client = await (await serve(t, twoDisks())).connect()
    assert.equal((await client.greet()).toString('hex'), '4e42444d4147494349484156454f50540003')
  })

  test('lists exports with their descriptions', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    const replies = await client.option(nbd.OPT_LIST)
    assert.deepEqual(types(replies), [nbd.REP_SERVER, nbd.REP_SERVER, nbd.REP_ACK])
    assert.equal(replies[0].data.toString(), '\0\0\0\x0bdrive-scsi0the system')
    assert.equal(replies[1].data.toString(), '\0\0\0\x0bdrive-scsi1')
  })

  test('tells size, flags, block sizes, name and description, as far as they are asked for', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    const [only, ack] = await client.option(nbd.OPT_INFO, encodeGo('drive-scsi1', []))
    assert.equal(ack.type, nbd.REP_ACK)
    assert.equal(only.data.readBigUInt64BE(2), 4096n)
    // Flags of a read-only disk: HAS_FLAGS, READ_ONLY, SEND_FLUSH, CAN_MULTI_CONN, SEND_CACHE.
    assert.equal(only.data.readUInt16BE(10), 0b101_0000_0111)
    const replies = await client.option(nbd.OPT_INFO, encodeGo('drive-scsi0', [1, 2, 3, 77]))
    const infos = replies.slice(0, -1).map(({ data }) => [data.readUInt16BE(0), data.subarray(2)] as const)
    assert.deepEqual(
      infos.map(([info]) => info),
      [nbd.INFO_EXPORT, nbd.INFO_NAME, nbd.INFO_DESCRIPTION, nbd.INFO_BLOCK_SIZE],
    )
    assert.equal(infos[0][1].readUInt16BE(8), 0b1101_0110_1101)
    assert.equal(infos[1][1].toString(), 'drive-scsi0')
    assert.equal(infos[3][1].toString('hex'), '00000001' + '00001000' + '02000000')
  })

  test('"do not fragment" is offered with structured replies only', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    const flags = async () => (await client.option(nbd.OPT_INFO, encodeGo('drive-scsi0', [])))[0].data.readUInt16BE(10)
    assert.equal((await flags()) & nbd.FLAG_SEND_DF, 0)
    await client.option(nbd.OPT_STRUCTURED_REPLY)
    assert.notEqual((await flags()) & nbd.FLAG_SEND_DF, 0)
  })

  test('an only export is the default one too, one of two is not', async (t) => {
    const one = await greeted(await serve(t, twoDisks().slice(0, 1)))
    assert.equal((await one.option(nbd.OPT_INFO, encodeGo('', []))).at(-1)!.type, nbd.REP_ACK)
    const two = await greeted(await serve(t, twoDisks()))
    assert.deepEqual(types(await two.option(nbd.OPT_GO, encodeGo('', []))), [nbd.REP_ERR_UNKNOWN])
    assert.deepEqual(types(await two.option(nbd.OPT_GO, encodeGo('drive-scsi9', []))), [nbd.REP_ERR_UNKNOWN])
    assert.equal((await two.option(nbd.OPT_GO, encodeGo('drive-scsi0', []))).at(-1)!.type, nbd.REP_ACK)
  })

  test('base:allocation is listed and chosen, other contexts are not there', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    const ask = (option: number, queries: string[], name = 'drive-scsi0') =>
      client.option(option, encodeMetaContext(name, queries))
    assert.deepEqual(types(await ask(nbd.OPT_SET_META_CONTEXT, ['base:allocation'])), [nbd.REP_ERR_INVALID])
    await client.option(nbd.OPT_STRUCTURED_REPLY)
    for (const queries of [[], ['base:'], ['base:allocation', 'qemu:dirty-bitmap:x']]) {
      const listed = await ask(nbd.OPT_LIST_META_CONTEXT, queries)
      assert.deepEqual(types(listed), [nbd.REP_META_CONTEXT, nbd.REP_ACK], String(queries))
      assert.equal(listed[0].data.toString('latin1', 4), 'base:allocation')
    }
    assert.deepEqual(types(await ask(nbd.OPT_LIST_META_CONTEXT, ['qemu:'])), [nbd.REP_ACK])
    assert.deepEqual(types(await ask(nbd.OPT_SET_META_CONTEXT, ['base:'])), [nbd.REP_ACK])
    assert.deepEqual(types(await ask(nbd.OPT_SET_META_CONTEXT, ['x', 'base:allocation'])), [
      nbd.REP_META_CONTEXT,
      nbd.REP_ACK,
    ])
    assert.deepEqual(types(await ask(nbd.OPT_SET_META_CONTEXT, [], 'nobody')), [nbd.REP_ERR_UNKNOWN])
  })

  test('a request for contexts drops what was chosen before, also if it fails', async (t) => {
    const again: [string, Buffer, number][] = [
      ['of an export that is not there', encodeMetaContext('none', [nbd.BASE_ALLOCATION]), nbd.REP_ERR_UNKNOWN],
      ['of nothing', encodeMetaContext('drive-scsi0', []), nbd.REP_ACK],
      ['of what is not known', encodeMetaContext('drive-scsi0', ['x:y']), nbd.REP_ACK],
      ['that nobody can read', encodeMetaContext('drive-scsi0', ['base:']).subarray(0, -3), nbd.REP_ERR_INVALID],
    ]
    for (const [what, data, answer] of again) {
      const client = await greeted(await serve(t, twoDisks()))
      await client.option(nbd.OPT_STRUCTURED_REPLY)
      await client.option(nbd.OPT_SET_META_CONTEXT, encodeMetaContext('drive-scsi0', [nbd.BASE_ALLOCATION]))
      assert.equal((await client.option(nbd.OPT_SET_META_CONTEXT, data)).at(-1)!.type, answer, what)
      await client.option(nbd.OPT_GO, encodeGo('drive-scsi0', []))
      assert.equal((await client.ask(nbd.CMD_BLOCK_STATUS, 0, 4096)).errno, nbd.EINVAL, what)
    }
  })

  test('a context that was chosen for another export does not count', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    await client.option(nbd.OPT_STRUCTURED_REPLY)
    await client.option(nbd.OPT_SET_META_CONTEXT, encodeMetaContext('drive-scsi1', ['base:allocation']))
    await client.option(nbd.OPT_GO, encodeGo('drive-scsi0', []))
    assert.equal((await client.ask(nbd.CMD_BLOCK_STATUS, 0, 4096)).errno, nbd.EINVAL)
  })

  test('EXPORT_NAME of old clients, with and without its 124 zeroes', async (t) => {
    const served = await serve(t, twoDisks())
    for (const [flags, zeroes] of [
      [nbd.FLAG_FIXED_NEWSTYLE | nbd.FLAG_NO_ZEROES, 0],
      [0, 124],
    ]) {
      const client = await served.connect()
      await client.greet(flags)
      client.send(encodeOption(nbd.OPT_EXPORT_NAME, Buffer.from('drive-scsi0')))
      const told = await client.take(10 + zeroes)
      assert.equal(told.readBigUInt64BE(0), 2n ** 20n)
      assert.ok(told.subarray(10).equals(Buffer.alloc(zeroes)))
      assert.equal((await client.ask(nbd.CMD_READ, 0, 512)).payload.length, 512)
    }
    const stranger = await greeted(served)
    stranger.send(encodeOption(nbd.OPT_EXPORT_NAME, Buffer.from('nobody')))
    await stranger.ended()
  })

  test('ABORT is acknowledged and ends the connection', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    assert.deepEqual(types(await client.option(nbd.OPT_ABORT)), [nbd.REP_ACK])
    await client.ended()
  })

  test('options that it does not know are refused, and the client may go on', async (t) => {
    const client = await greeted(await serve(t, twoDisks()))
    for (const option of [4, nbd.OPT_STARTTLS, 11, 0xffffffff]) {
      assert.deepEqual(types(await client.option(option, Buffer.alloc(100))), [nbd.REP_ERR_UNSUP])
    }
    assert.deepEqual(types(await client.option(999, Buffer.alloc(20_000))), [nbd.REP_ERR_TOO_BIG])
    assert.equal((await client.option(nbd.OPT_LIST)).at(-1)!.type, nbd.REP_ACK)
  })
})

describe('NBD server, handshake with hostile clients', { timeout }, () => {
  const count = (n: number, bytes: number) => Buffer.alloc(bytes, 0).fill(n, bytes - 1)
  const bad: [string, number, Buffer][] = [
    ['LIST with data', nbd.OPT_LIST, Buffer.alloc(1)],
    ['STRUCTURED_REPLY with data', nbd.OPT_STRUCTURED_REPLY, Buffer.alloc(4)],
    ['GO without data', nbd.OPT_GO, Buffer.alloc(0)],
    ['GO whose name is longer than the option', nbd.OPT_GO, Buffer.from('ffffffff0000', 'hex')],
    ['GO without its count', nbd.OPT_GO, Buffer.concat([count(1, 4), Buffer.from('x')])],
    ['GO with fewer informations than it says', nbd.OPT_GO, Buffer.from('00000000ffff0003', 'hex')],
    ['GO with more data than it says', nbd.OPT_GO, Buffer.from('0000000000000003', 'hex')],
    ['GO with a name that is not UTF-8', nbd.OPT_GO, Buffer.from('00000002fffe0000', 'hex')],
    ['GO with a name of 5000 bytes', nbd.OPT_GO, encodeGo('x'.repeat(5000), [])],
    ['contexts, four billion of them', nbd.OPT_SET_META_CONTEXT, Buffer.from('00000000ffffffff', 'hex')],
    [
      'a context that is longer than the option',
      nbd.OPT_LIST_META_CONTEXT,
      Buffer.from('000000000000000100000009', 'hex'),
    ],
  ]
  for (const [name, option, data] of bad) {
    test(`${name} is invalid, and no more than that`, async (t) => {
      const client = await greeted(await serve(t, twoDisks()))
      assert.deepEqual(types(await client.option(option, data)), [nbd.REP_ERR_INVALID])
      assert.equal((await client.option(nbd.OPT_LIST)).at(-1)!.type, nbd.REP_ACK)
    })
  }

  const fatal: [string, (client: WireClient) => void][] = [
    ['unknown client flags', (client) => client.send(Buffer.from('00000004', 'hex'))],
    ['an option without magic', (client) => client.send(Buffer.from('00000003', 'hex'), Buffer.alloc(16))],
    ['HTTP', (client) => client.send(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))],
    ['an option of 2 GiB', (client) => client.send(Buffer.from('0000000349484156454f50540000000380000000', 'hex'))],
    [
      'an export name of 5000 bytes',
      (client) => client.send(Buffer.from('00000003', 'hex'), encodeOption(1, Buffer.alloc(5000))),
    ],
    [
      'options without end',
      (client) =>
        client.send(Buffer.from('00000003', 'hex'), ...Array.from({ length: 300 }, () => encodeOption(nbd.OPT_LIST))),
    ],
    ['nothing at all', () => {}],
  ]
  for (const [name, say] of fatal) {
    test(`${name} ends the connection, and only that one`, async (t) => {
      // Who says nothing is waited for, and others must not take as long.
      const served = await serve(t, twoDisks(), name === 'nothing at all' ? { handshakeTimeout: 1000 } : {})
      const client = await served.connect()
      say(client)
      await client.ended()
      const other = await greeted(served)
      assert.equal((await other.option(nbd.OPT_LIST)).at(-1)!.type, nbd.REP_ACK)
    })
  }

  test('whatever the bytes are, the server lives', async (t) => {
    const served = await serve(t, twoDisks(), { handshakeTimeout: 200 })
    const seed = Date.now()
    let state = seed
    const random = (below: number) => {
      state = (state * 1103515245 + 12345) % 2 ** 31
      return Math.floor((state / 2 ** 31) * below)
    }
    for (let round = 0; round < 60; round++) {
      const client = await served.connect()
      client.socket.on('error', () => {})
      const good = Buffer.concat([
        Buffer.from('00000003', 'hex'),
        encodeOption(nbd.OPT_STRUCTURED_REPLY),
        encodeOption(nbd.OPT_GO, encodeGo('drive-scsi0', [3])),
        client.request(nbd.CMD_WRITE, 0, 4096),
        Buffer.alloc(4096),
      ])
      for (let flips = 1 + random(5); flips > 0; flips--) good[random(good.length)] ^= 1 << random(8)
      client.send(good.subarray(0, random(good.length)))
      if (random(2)) client.socket.destroy()
      else client.socket.end()
    }
    const client = await (await greeted(served)).option(nbd.OPT_LIST)
    assert.equal(client.at(-1)!.type, nbd.REP_ACK, `seed ${seed}`)
  })
})
