import assert from 'node:assert/strict'
import { test } from 'node:test'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { until } from '../../storage/archive/processes.ts'
import { askOnce } from '../../support/proxmox/other-client.ts'
import { startStorageDaemon } from '../../support/qemu.ts'
import { needs } from '../../support/tools.ts'
import { GREETING, scripted } from './scripted-server.ts'

const timeout = 60_000

test('a shared monitor is left when all answers have come, and used again', { timeout }, async (t) => {
  let left = 0
  const path = await scripted(t, async (peer, connection) => {
    peer.socket.on('close', () => left++)
    await peer.negotiate()
    for (;;) {
      const { execute, id } = await peer.command()
      if (execute === 'query-version') peer.send({ return: GREETING.QMP.version, id })
      else peer.send({ return: { connection }, id })
    }
  })
  const client = await QmpClient.shared(path)
  t.after(() => client.close())
  assert.equal(client.version.major, 7)
  await until(() => left === 1, 'the first connection ends')
  assert.deepEqual(await client.execute('query-status'), { connection: 1 })
  await until(() => left === 2, 'the second connection ends')
  const both = await Promise.all([client.execute('query-jobs'), client.execute('query-block')])
  assert.deepEqual(both, [{ connection: 2 }, { connection: 2 }])
})

test('a shared monitor is not left as long as an answer is open, nor in the middle of what belongs together', {
  timeout,
}, async (t) => {
  let left = 0
  const { promise: later, resolve: answer } = Promise.withResolvers<void>()
  const path = await scripted(t, async (peer) => {
    peer.socket.on('close', () => left++)
    await peer.negotiate()
    for (;;) {
      const { execute, id } = await peer.command()
      if (execute === 'slow') await later
      peer.send({ return: execute === 'query-version' ? GREETING.QMP.version : {}, id })
    }
  })
  const client = await QmpClient.shared(path)
  t.after(() => client.close())
  await until(() => left === 1, 'the first connection ends')
  const slow = client.execute('slow')
  // Longer than it would stay without anything to do.
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(left, 1)
  answer()
  await slow
  await client.together(async () => {
    await client.execute('stop')
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await client.execute('cont')
    assert.equal(left, 1)
  })
  await until(() => left === 2, 'it is left afterwards')
})

test('a client that asks without end lets others in after a second', {
  timeout,
  ...needs('qemu-storage-daemon'),
}, async (t) => {
  const { qmp } = await startStorageDaemon(t)
  const client = await QmpClient.shared(qmp)
  t.after(() => client.close())
  let asks = true
  let asked = 0
  const asking = (async () => {
    for (; asks; asked++) await Promise.all([client.execute('query-block-exports'), client.execute('query-jobs')])
  })()
  for (let turn = 0; turn < 3; turn++) {
    const [exports] = await askOnce(qmp, { execute: 'query-block-exports' })
    assert.deepEqual(exports, [])
  }
  asks = false
  await asking
  assert.ok(asked > 3, 'it went on between the turns of the others')
})

test('a hundred visits leave QEMU well, and each gets its own answers', {
  timeout,
  ...needs('qemu-storage-daemon'),
}, async (t) => {
  const { qmp } = await startStorageDaemon(t)
  const client = await QmpClient.shared(qmp)
  t.after(() => client.close())
  for (let visit = 0; visit < 50; visit++) {
    const [ours, [theirs]] = await Promise.all([
      client.execute<any>('query-version'),
      askOnce(qmp, { execute: 'query-jobs' }),
    ])
    assert.equal(ours.qemu.major, client.version.major)
    assert.deepEqual(theirs, [])
  }
})

test('without a server, a shared monitor says so at once; when QEMU has ended, at the next command', {
  timeout,
  ...needs('qemu-storage-daemon'),
}, async (t) => {
  await assert.rejects(QmpClient.shared('/nonexistent/qmp'), { code: 'FAILED', message: /there is no such socket/ })
  const { qmp, child } = await startStorageDaemon(t)
  const client = await QmpClient.shared(qmp)
  child.kill('SIGKILL')
  await until(() => child.signalCode !== null, 'QEMU has ended')
  await assert.rejects(client.execute('query-jobs'), { code: 'FAILED' })
  assert.notEqual(await client.closed, null)
})

test('a monitor that somebody else never lets go is waited for, then the command fails and says why', {
  timeout,
  ...needs('qemu-storage-daemon'),
}, async (t) => {
  const { qmp } = await startStorageDaemon(t)
  const other = await QmpClient.connect(qmp)
  t.after(() => other.close())
  const message = /another program has had the monitor for 0.4 s/
  await assert.rejects(QmpClient.shared(qmp, { timeout: 400 }), { code: 'FAILED', message })
})
