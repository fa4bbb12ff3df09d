import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../../src/core/errors.ts'
import { QmpClient, QmpError, qmpErrorClass } from '../../../src/protocol/qmp/client.ts'
import { startQemu, startStorageDaemon } from '../../support/qemu.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { scripted } from './scripted-server.ts'

const timeout = 60_000
const withDaemon = { timeout, ...needs('qemu-storage-daemon') }

const node = (name: string) => ({ driver: 'null-co', 'node-name': name, size: 1 << 20, 'read-zeroes': true })

/** A client of a fresh storage daemon. */
async function daemon(t: { after(hook: () => void): void }) {
  const { qmp, child } = await startStorageDaemon(t)
  const client = await QmpClient.connect(qmp)
  t.after(() => client.close())
  return { qmp, child, client }
}

describe('a QMP client', () => {
  test('greets, and knows the version', withDaemon, async (t) => {
    const { client } = await daemon(t)
    assert.ok(client.version.major >= 7)
    assert.ok(client.version.minor >= 0)
  })

  test('runs commands, several at once, each with its own answer', withDaemon, async (t) => {
    const { client } = await daemon(t)
    const names = Array.from({ length: 40 }, (_, i) => `n${i}`)
    await Promise.all(names.map((name) => client.execute('blockdev-add', node(name))))
    const answers = await Promise.all([
      client.execute('query-block-exports'),
      client.execute<any>('query-named-block-nodes', { flat: true }),
      client.execute('query-jobs'),
    ])
    assert.deepEqual(answers[0], [])
    assert.deepEqual(answers[1].map((n: any) => n['node-name']).sort(), [...names].sort())
    assert.deepEqual(answers[2], [])
  })

  test("gives QEMU's class and description of an error, and goes on", withDaemon, async (t) => {
    const { client } = await daemon(t)
    const error = await client.execute<any>('no-such-thing').then(assert.fail, (reason: unknown) => reason)
    assert.ok(error instanceof VmapipeError)
    assert.equal(error.code, 'FAILED')
    assert.equal(error.line, 'QEMU refuses no-such-thing: The command no-such-thing has not been found')
    assert.ok(error.cause instanceof QmpError)
    assert.equal(qmpErrorClass(error), 'CommandNotFound')
    assert.equal(qmpErrorClass(new Error('another')), undefined)
    assert.deepEqual(await client.execute('query-jobs'), [])
  })

  test('waits for the event that matches, and tells listeners of all', withDaemon, async (t) => {
    const { client } = await daemon(t)
    const seen: string[] = []
    const off = client.on(({ event, data }) => seen.push(`${event} ${data.status}`))
    for (const name of ['a', 'b']) await client.execute('blockdev-add', node(name))
    const done = client.waitFor('JOB_STATUS_CHANGE', ({ id, status }) => id === 'j' && status === 'null', 5000)
    await client.execute('blockdev-backup', { 'job-id': 'j', device: 'a', target: 'b', sync: 'full' })
    const { data, seconds } = await done
    assert.deepEqual(data, { id: 'j', status: 'null' })
    assert.ok(Math.abs(seconds - Date.now() / 1000) < 60, 'the time of day')
    assert.ok(seen.includes('JOB_STATUS_CHANGE created') && seen.includes('JOB_STATUS_CHANGE null'), seen.join())
    off()
    const before = seen.length
    await client.execute('blockdev-backup', { 'job-id': 'k', device: 'a', target: 'b', sync: 'full' })
    assert.equal(seen.length, before)
  })

  test('an event that does not come is an error, which nobody has to look at', withDaemon, async (t) => {
    const { client } = await daemon(t)
    void client.waitFor('STOP', undefined, 50)
    await assert.rejects(client.waitFor('STOP', undefined, 50), { message: /did not report STOP within 0\.05 s/ })
  })

  test('says that another program is probably connected, and does not disturb them', withDaemon, async (t) => {
    const { qmp, client } = await daemon(t)
    await assert.rejects(QmpClient.connect(qmp, { timeout: 300 }), {
      code: 'FAILED',
      message: /no QMP greeting within 0\.3 s/,
      hint: /one client at a time, and another program/,
    })
    assert.deepEqual(await client.execute('query-jobs'), [])
  })

  test('fails everything when QEMU goes, with one error', withDaemon, async (t) => {
    const { child, client } = await daemon(t)
    child.kill('SIGSTOP')
    const command = client.execute('query-jobs')
    const event = client.waitFor('STOP')
    child.kill('SIGKILL')
    const error = await client.closed
    assert.match(error!.message, /the QMP server closed the connection|reset/)
    await assert.rejects(command, error!)
    await assert.rejects(event, error!)
    await assert.rejects(client.execute('query-jobs'), error!)
    await assert.rejects(client.waitFor('STOP'), error!)
  })

  test('that is closed lets QEMU take the next one', withDaemon, async (t) => {
    const { qmp, client } = await daemon(t)
    client.close()
    assert.equal(await client.closed, null)
    await assert.rejects(client.execute('query-jobs'), /connection was closed/)
    const next = await QmpClient.connect(qmp)
    assert.deepEqual(await next.execute('query-jobs'), [])
    next.close()
  })

  test('says that nobody is there', { timeout }, async (t) => {
    await assert.rejects(QmpClient.connect(join(tmpDir(t), 'none')), {
      message: /none: there is no such socket/,
      hint: /does the guest run/,
    })
  })

  test('stops waiting for a greeting when told to', { timeout }, async (t) => {
    const path = await scripted(t, () => {})
    const stop = new AbortController()
    const connecting = QmpClient.connect(path, { signal: stop.signal })
    setTimeout(() => stop.abort(), 20)
    await assert.rejects(connecting, { code: 'ABORTED' })
    await assert.rejects(QmpClient.connect(path, { signal: AbortSignal.abort() }), { code: 'ABORTED' })
  })

  test('outlives the signal that it was opened with: cleaning up needs it', withDaemon, async (t) => {
    const { qmp } = await startStorageDaemon(t)
    const stop = new AbortController()
    const client = await QmpClient.connect(qmp, { signal: stop.signal })
    stop.abort()
    assert.deepEqual(await client.execute('query-jobs'), [])
    client.close()
  })

  test('gives a command up after its time, and drops the answer that comes late', { timeout }, async (t) => {
    const path = await scripted(t, async (peer) => {
      await peer.negotiate()
      const slow = await peer.command()
      const quick = await peer.command()
      peer.send({ return: 'quick', id: quick.id })
      const last = await peer.command()
      peer.send({ return: 'late', id: slow.id })
      peer.send({ return: 'last', id: last.id })
    })
    const client = await QmpClient.connect(path)
    const slow = assert.rejects(client.execute('blockdev-del', undefined, { timeout: 50 }), {
      message: /no answer to blockdev-del within 0\.05 s/,
    })
    assert.equal(await client.execute('quick'), 'quick')
    await slow
    await sleep(20)
    assert.equal(await client.execute('last'), 'last')
    client.close()
  })

  test('of a whole machine sees it stop and go on', { timeout, ...needs('qemu-system-x86_64') }, async (t) => {
    const { qmp } = await startQemu(t, [])
    const client = await QmpClient.connect(qmp)
    t.after(() => client.close())
    const resumed = client.waitFor('RESUME')
    await client.execute('cont')
    await resumed
    const stopped = client.waitFor('STOP')
    await client.execute('stop')
    await stopped
    assert.equal((await client.execute<any>('query-status')).status, 'paused')
  })
})
