import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { GREETING, type Peer, scripted } from './scripted-server.ts'

const timeout = 60_000

const greetings: [string, RegExp, (peer: Peer) => void][] = [
  [
    'is a human monitor',
    /'QEMU 7\.2\.22 monitor.* is not JSON/,
    (peer) => peer.send("QEMU 7.2.22 monitor - type 'help'\r\n"),
  ],
  ['is a VNC server', /'RFB 003\.008' is not JSON/, (peer) => peer.send('RFB 003.008\n')],
  ['greets without a version', /does not tell its version/, (peer) => peer.send({ QMP: {} })],
  ['hangs up at once', /closed the connection$/, (peer) => peer.socket.end()],
  [
    'hangs up in its greeting',
    /closed the connection in the middle of a message/,
    (peer) => peer.socket.end('{"QMP": '),
  ],
  ['never greets', /no QMP greeting within 1 s/, () => {}],
  ['greets, and answers nothing', /no answer to qmp_capabilities within 1 s/, (peer) => peer.send(GREETING)],
]

/** After the handshake, and one command. */
const answers: [string, RegExp, (peer: Peer, id: number) => void][] = [
  [
    'answers with an unknown id',
    /an answer to a command that it was not given/,
    (peer) => peer.send({ return: {}, id: 99 }),
  ],
  ['answers with an id that is no number', /not given/, (peer, id) => peer.send({ return: {}, id: String(id) })],
  [
    'answers without an id',
    /the error 'bad' to a command that it was not given/,
    (peer) => peer.send({ error: { class: 'GenericError', desc: 'bad' } }),
  ],
  ['sends no JSON', /'\{"return": \[1, 2' is not JSON/, (peer) => peer.send('{"return": [1, 2\n')],
  ['sends an object without a meaning', /neither greeting, answer nor event/, (peer) => peer.send({ id: 1 })],
  [
    'hangs up in its answer',
    /closed the connection in the middle of a message/,
    (peer) => peer.socket.end('{"return": {}, "id"'),
  ],
]

describe('a QMP server', () => {
  for (const [what, pattern, script] of greetings) {
    test(`that ${what} is one clear error`, { timeout }, async (t) => {
      const path = await scripted(t, script)
      await assert.rejects(QmpClient.connect(path, { timeout: 1000 }), { code: 'FAILED', message: pattern })
    })
  }

  for (const [what, pattern, script] of answers) {
    test(`that ${what} fails all commands, and is let go`, { timeout }, async (t) => {
      const path = await scripted(t, async (peer) => {
        await peer.negotiate()
        await peer.command()
        const { id } = await peer.command()
        script(peer, id!)
      })
      const client = await QmpClient.connect(path)
      const outcomes = await Promise.allSettled([client.execute('one'), client.execute('two')])
      for (const outcome of outcomes) {
        assert.equal(outcome.status, 'rejected')
        assert.match(outcome.reason.message, pattern)
      }
      assert.match((await client.closed)!.message, pattern)
    })
  }

  test("may have answers left for the client before: they are nobody's", { timeout }, async (t) => {
    const path = await scripted(t, async (peer) => {
      peer.send({ return: 'theirs', id: 1 })
      peer.send(GREETING)
      peer.send({ error: { class: 'GenericError', desc: 'theirs' }, id: 2 })
      peer.send({ return: 'theirs' })
      for (const value of [{}, 'ours']) peer.send({ return: value, id: (await peer.command()).id })
    })
    const client = await QmpClient.connect(path)
    t.after(() => client.close())
    assert.equal(await client.execute('one'), 'ours')
  })

  test('that sends a line without end is let go before it fills the memory', { timeout }, async (t) => {
    let sent = 0
    const path = await scripted(t, async (peer) => {
      await peer.negotiate()
      const piece = Buffer.alloc(1 << 20, '[')
      peer.socket.setMaxListeners(100)
      while (!peer.socket.destroyed && sent < 64) {
        sent++
        if (!peer.socket.write(piece)) {
          await new Promise((resolve) => {
            peer.socket.once('drain', resolve)
            peer.socket.once('close', resolve)
          })
        }
      }
    })
    const client = await QmpClient.connect(path)
    assert.match((await client.closed)!.message, /more than 16777216 bytes/)
    assert.ok(sent < 24, `${sent} MiB were taken`)
  })

  test('may answer twice in one piece, out of order, and with events between', { timeout }, async (t) => {
    const path = await scripted(t, async (peer) => {
      await peer.negotiate()
      const [one, two] = [await peer.command(), await peer.command()]
      const lines = [
        { return: 2, id: two.id },
        { event: 'X', data: { n: 1 } },
        { return: 1, id: one.id },
      ]
      peer.send(lines.map((line) => `${JSON.stringify(line)}\r\n`).join(''))
    })
    const client = await QmpClient.connect(path)
    const event = client.waitFor('X', ({ n }) => n === 1)
    assert.deepEqual(await Promise.all([client.execute('one'), client.execute('two')]), [1, 2])
    assert.equal((await event).seconds, -1)
    client.close()
  })
})
