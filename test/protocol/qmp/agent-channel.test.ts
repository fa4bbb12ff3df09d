import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { AgentChannel } from '../../../src/protocol/qmp/agent-channel.ts'
import { qmpErrorClass } from '../../../src/protocol/qmp/client.ts'
import { type Peer, scripted } from './scripted-server.ts'

const timeout = 60_000
const DELIMITER = Buffer.of(0xff)

/** Takes a sync, and gives its id. */
async function syncOf(peer: Peer): Promise<number> {
  const line = await peer.line()
  assert.equal(line![0], '\xff', 'the agent is told to forget what it has')
  const { execute, arguments: args } = JSON.parse(line!.slice(1))
  assert.equal(execute, 'guest-sync-delimited')
  return args.id
}

function answerSync(peer: Peer, id: number): void {
  peer.socket.write(Buffer.concat([DELIMITER, Buffer.from(`${JSON.stringify({ return: id })}\n`)]))
}

async function open(t: { after(hook: () => void): void }, script: (peer: Peer) => unknown): Promise<AgentChannel> {
  const channel = new AgentChannel(await scripted(t, script))
  t.after(() => channel.close())
  return channel
}

describe('the channel to a guest agent', () => {
  test('throws away whatever comes before the answer to its own sync', { timeout }, async (t) => {
    const channel = await open(t, async (peer) => {
      peer.send('{"return": "of somebody else"}\n{"return": 5}\nhalf a mess')
      const id = await syncOf(peer)
      answerSync(peer, id + 1)
      peer.socket.write(Buffer.concat([DELIMITER, Buffer.from('not JSON\n')]))
      peer.send('{"return": "stale"}\n')
      answerSync(peer, id)
      await peer.command()
      peer.send({ return: 'mine' })
    })
    await channel.sync(2000)
    assert.equal(await channel.execute('guest-ping', 2000), 'mine')
  })

  test('takes the answer to a sync in pieces', { timeout }, async (t) => {
    const channel = await open(t, async (peer) => {
      const text = `${JSON.stringify({ return: await syncOf(peer) })}\n`
      for (const byte of Buffer.concat([Buffer.from('junk'), DELIMITER, Buffer.from(text)])) {
        peer.socket.write(Buffer.of(byte))
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })
    await channel.sync(2000)
  })

  test('may be asked for more before the first answer: answers come in order', { timeout }, async (t) => {
    const channel = await open(t, async (peer) => {
      const id = await syncOf(peer)
      await peer.command()
      await peer.command()
      answerSync(peer, id)
      peer.send({ return: 'first' })
      peer.send({ error: { class: 'GenericError', desc: 'not now' } })
    })
    const refused = channel.sync(2000).then(() => {})
    const answers = [channel.execute('a', 2000), channel.execute('b', 2000)]
    await refused
    assert.equal(await answers[0], 'first')
    const error: any = await answers[1].catch((reason) => reason)
    assert.equal(error.message, 'the guest agent refuses b: not now')
    assert.equal(qmpErrorClass(error), 'GenericError')
  })

  test('of an agent that says nothing costs its timeout, and then is closed', { timeout }, async (t) => {
    const channel = await open(t, () => {})
    const before = performance.now()
    const sync = channel.sync(200)
    const status = channel.execute('guest-fsfreeze-status', 5000)
    await assert.rejects(sync, {
      code: 'FAILED',
      message: /no answer to guest-sync-delimited within 0\.2 s/,
      hint: /does qemu-ga run in the guest/,
    })
    await assert.rejects(status, /no answer to guest-sync-delimited/)
    assert.ok(performance.now() - before < 4000)
    await assert.rejects(channel.execute('guest-ping', 5000), /no answer to guest-sync-delimited/)
  })

  for (const [what, pattern, script] of [
    ['is no agent', /something that is no answer/, (peer) => peer.send('RFB 003.008\n')],
    ['answers with an event', /something that is no answer/, (peer) => peer.send({ event: 'STOP' })],
    ['hangs up', /the connection was closed/, (peer) => peer.socket.end()],
    ['sends a line without end', /more than 1048576 bytes/, (peer) => peer.send('['.repeat(3 << 20))],
  ] as [string, RegExp, (peer: Peer) => unknown][]) {
    test(`of something that ${what} is one clear error`, { timeout }, async (t) => {
      const channel = await open(t, async (peer) => {
        answerSync(peer, await syncOf(peer))
        await peer.command()
        script(peer)
      })
      await channel.sync(2000)
      await assert.rejects(channel.execute('guest-ping', 2000), { code: 'FAILED', message: pattern })
    })
  }

  test('of a flood before the sync takes no memory for it', { timeout }, async (t) => {
    const channel = await open(t, async (peer) => {
      const id = await syncOf(peer)
      peer.send('x'.repeat(8 << 20))
      answerSync(peer, id)
    })
    await channel.sync(5000)
  })

  test('answers that nobody asked for end it', { timeout }, async (t) => {
    const channel = await open(t, async (peer) => {
      answerSync(peer, await syncOf(peer))
      peer.send({ return: {} })
    })
    await channel.sync(2000)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await assert.rejects(channel.execute('guest-ping', 2000), /answered what nobody asked/)
  })
})
