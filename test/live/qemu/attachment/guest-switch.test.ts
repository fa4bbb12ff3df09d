import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { footprintOf, namesIn } from '../../../../src/live/qemu/attachment/footprint.ts'
import { letGoOn, realGuest } from '../../../../src/live/qemu/attachment/guest-switch.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { startQemu } from '../../../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../../../support/qemu-builds.ts'

const timeout = 60_000

const FOREIGN = { code: 'FAILED', message: /let go on by somebody else/ }

async function start(t: TestContext, build: QemuBuild) {
  const { qmp: path } = await startQemu(t, [], build)
  const qmp = await QmpClient.connect(path)
  t.after(() => qmp.close())
  const events: string[] = []
  qmp.on(({ event }) => events.push(event))
  return {
    ...{ qmp, events },
    async isRunning(): Promise<boolean> {
      assert.deepEqual(namesIn(await footprintOf(qmp)), [])
      return (await qmp.execute<any>('query-status')).running
    },
  }
}

/** Before the first command of this name its owner does something to the guest. */
function meddled(qmp: QmpClient, name: string, owner: () => Promise<unknown>): QmpClient {
  let isDone = false
  const execute: QmpClient['execute'] = async (command, ...rest) => {
    const answer = qmp.execute(command, ...rest)
    if (command !== name || isDone) return answer as any
    isDone = true
    const value = await answer
    await owner()
    return value as any
  }
  return {
    execute,
    on: qmp.on.bind(qmp),
    together: qmp.together.bind(qmp),
    version: qmp.version,
  } as unknown as QmpClient
}

for (const build of QEMU_BUILDS) {
  describe(`the guest of ${build.name} that stands still for a moment`, needsQemu(build, 'qemu-system-x86_64'), () => {
    test('is stopped by us and goes on, or stays as its owner has it', { timeout }, async (t) => {
      const { qmp, events, isRunning } = await start(t, build)
      const look = () => realGuest.whileStill(qmp, [['query-status'], ['no-such-command']])
      for (const running of [false, true, true]) {
        if (running) await qmp.execute('cont')
        events.length = 0
        const [state, refused] = await look()
        assert.equal((state as PromiseFulfilledResult<{ running: boolean }>).value.running, false)
        assert.equal(refused.status, 'rejected')
        assert.equal(await isRunning(), running)
        assert.deepEqual(events, running ? ['STOP', 'RESUME'] : [])
      }
    })

    test('stands still until what it is held for is through, well or not', { timeout }, async (t) => {
      const { qmp, isRunning } = await start(t, build)
      await qmp.execute('cont')
      const held: boolean[] = []
      const hold = async () => void held.push((await qmp.execute<any>('query-status')).running)
      await realGuest.whileStill(qmp, [], hold)
      assert.equal(await isRunning(), true)
      const failed = realGuest.whileStill(qmp, [], () => hold().then(() => Promise.reject(new Error('no'))))
      await assert.rejects(failed, /no/)
      assert.equal(await isRunning(), true)
      assert.deepEqual(held, [false, false])
    })

    test('is not started again if its owner pauses it just before', { timeout }, async (t) => {
      const { qmp, events, isRunning } = await start(t, build)
      for (const moment of ['query-status', 'object-add']) {
        await qmp.execute('cont')
        events.length = 0
        await realGuest.whileStill(
          meddled(qmp, moment, () => qmp.execute('stop')),
          [],
        )
        assert.equal(await isRunning(), false, moment)
        assert.deepEqual(events, ['STOP'])
      }
    })

    test('is stopped if its owner lets it go on just before', { timeout }, async (t) => {
      const { qmp, events, isRunning } = await start(t, build)
      const went = meddled(qmp, 'query-migrate', () => qmp.execute('cont'))
      const [state] = await realGuest.whileStill(went, [['query-status']])
      assert.equal((state as PromiseFulfilledResult<{ running: boolean }>).value.running, false)
      assert.equal(await isRunning(), true)
      assert.deepEqual(events, ['RESUME', 'STOP', 'RESUME'])
    })

    test('is stopped, and goes on, if its owner lets it go on between our look and our stop', {
      timeout,
    }, async (t) => {
      const { qmp, events, isRunning } = await start(t, build)
      // Both are sent at once: what is sent before `stop` is sent between them.
      const execute: QmpClient['execute'] = (command, ...rest) => {
        if (command === 'stop') void qmp.execute('cont')
        return qmp.execute(command, ...rest)
      }
      const went = {
        execute,
        on: qmp.on.bind(qmp),
        together: qmp.together.bind(qmp),
        version: qmp.version,
      } as unknown as QmpClient
      const [state] = await realGuest.whileStill(went, [['query-status']])
      assert.equal((state as PromiseFulfilledResult<{ running: boolean }>).value.running, false)
      assert.equal(await isRunning(), true)
      assert.deepEqual(events, ['RESUME', 'STOP', 'RESUME'])
    })

    test('has no point in time if somebody lets it go on in the middle', { timeout }, async (t) => {
      const { qmp, isRunning } = await start(t, build)
      for (const running of [false, true]) {
        if (running) await qmp.execute('cont')
        await assert.rejects(realGuest.whileStill(qmp, [['cont']]), FOREIGN)
        await qmp.execute(running ? 'cont' : 'stop')
        await assert.rejects(realGuest.whileStill(qmp, [['cont'], ['stop']]), FOREIGN)
        assert.equal(await isRunning(), running)
      }
    })

    test('goes on when it is found with our mark, paused, and not without it', { timeout }, async (t) => {
      const { qmp, isRunning } = await start(t, build)
      await qmp.execute('cont')
      await qmp.execute('stop')
      assert.equal(await letGoOn(qmp), false)
      assert.equal(await isRunning(), false)
      await qmp.execute('object-add', { 'qom-type': 'secret', id: 'vmapipe-paused', data: '' })
      assert.equal(await letGoOn(qmp), true)
      assert.equal(await isRunning(), true)
      await qmp.execute('object-add', { 'qom-type': 'secret', id: 'vmapipe-paused', data: '' })
      assert.equal(await letGoOn(qmp), false)
      assert.equal(await isRunning(), true)
      await qmp.execute('object-add', { 'qom-type': 'secret', id: 'vmapipe-paused', data: '' })
      await qmp.execute('stop')
      const reset = qmp.waitFor('RESET')
      await qmp.execute('system_reset')
      await reset
      assert.equal(await letGoOn(qmp), true)
      assert.equal(await isRunning(), true)
    })
  })
}
