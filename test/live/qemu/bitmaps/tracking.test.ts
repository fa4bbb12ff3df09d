import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { detach } from '../../../../src/operations/detach.ts'
import { needsQemu, QEMU_BUILDS } from '../../../support/qemu-builds.ts'
import { seeded } from '../../../support/random.ts'
import { type Backup, TrackedMachine } from './tracked-machine.ts'

const timeout = 120_000

/** Which clusters of each drive an archive has. */
function stored({ clusters }: Backup): number[][] {
  return clusters.map((drive) => [...drive.keys()].sort((a, b) => a - b))
}

for (const build of QEMU_BUILDS) {
  describe(`dirty bitmaps of ${build.name}`, { timeout, ...needsQemu(build, 'qemu-system-x86_64') }, () => {
    const start = (t: TestContext) => TrackedMachine.start(t, build)

    for (const mode of ['guarded', 'push'] as const) {
      test(`with ${mode}: only what was written since the parent is read, and the last cluster`, {
        timeout,
      }, async (t) => {
        const machine = await start(t)
        const full = await machine.backup({ mode })
        assert.deepEqual(
          stored(full).map((drive) => drive.length),
          [65, 65],
        )
        await machine.write(0, 7)
        await machine.write(1, 8)
        await machine.io(1, 'discard 1310720 65536')
        machine.truth[1].fill(0, 1310720, 1310720 + 65536)
        const second = await machine.backup({ since: full, mode })
        assert.deepEqual(second.reasons, {})
        assert.deepEqual(stored(second), [
          [7, 64],
          [8, 20, 64],
        ])
        await machine.write(1, 9)
        const third = await machine.backup({ since: second, mode })
        assert.deepEqual(stored(third), [[64], [9, 64]])
        assert.deepEqual(await machine.kinds('node0'), ['end', 'since'])
        assert.deepEqual(await machine.kinds('node1'), ['end', 'since'])
      })
    }

    test('are as before if the backup fails, and the next one has all of it', { timeout }, async (t) => {
      const machine = await start(t)
      const full = await machine.backup()
      await machine.write(0, 7)
      for (const mode of ['guarded', 'push'] as const) {
        const meanwhile = () => machine.write(1, mode === 'push' ? 11 : 10)
        await assert.rejects(machine.run({ since: full, mode, fails: true, meanwhile }), /cannot be written/)
        assert.deepEqual(await machine.kinds('node0'), ['end', 'since'])
      }
      await machine.write(0, 9)
      assert.deepEqual(stored(await machine.backup({ since: full })), [
        [7, 9, 64],
        [10, 11, 64],
      ])
    })

    test('begin at the point in time: what the guest writes meanwhile is in the next archive', {
      timeout,
    }, async (t) => {
      const machine = await start(t)
      const full = await machine.backup()
      for (const cluster of [7, 20, 21]) await machine.write(0, cluster)
      const meanwhile = async () => {
        for (const cluster of [20, 30]) await machine.write(0, cluster)
      }
      const second = await machine.backup({ since: full, meanwhile })
      assert.deepEqual(stored(second)[0], [7, 20, 21, 64])
      assert.deepEqual(stored(await machine.backup({ since: second }))[0], [20, 30, 64])
    })

    test('of two targets have nothing to do with each other, and those of others are not touched', {
      timeout,
    }, async (t) => {
      const machine = await start(t)
      const foreign = ['checkpoint', 'vmapipe-frozen2', 'vmapipe-since-of-somebody']
      for (const name of foreign) await machine.monitor.execute('block-dirty-bitmap-add', { node: 'node0', name })
      const a = await machine.backup({ target: 'a' })
      await machine.write(0, 7)
      const b = await machine.backup({ target: 'b' })
      await machine.write(0, 8)
      const a2 = await machine.backup({ target: 'a', since: a })
      await machine.write(0, 9)
      assert.deepEqual(stored(a2)[0], [7, 8, 64])
      assert.deepEqual(stored(await machine.backup({ target: 'b', since: b }))[0], [8, 9, 64])
      assert.deepEqual(stored(await machine.backup({ target: 'a', since: a2 }))[0], [9, 64])
      await machine.write(0, 10)
      const { removed } = await detach({ qmp: machine.qmp, bitmaps: true })
      assert.equal(removed.length, 8)
      const left = (await machine.bitmaps()).map(({ name }) => name)
      assert.deepEqual(left.sort(), foreign)
    })

    test('are not made for an archive whose uuid the user gives: it may be given twice', { timeout }, async (t) => {
      const machine = await start(t)
      await machine.backup({ uuid: '01234567-89ab-4cde-8f01-23456789abcd' })
      assert.deepEqual(await machine.bitmaps(), [])
    })

    test('are right after many writes and backups that fail or succeed at random', { timeout }, async (t) => {
      const machine = await start(t)
      const random = seeded(7)
      let last = await machine.backup()
      for (let round = 0; round < 12; round++) {
        const some = async () => {
          for (let write = random() * 5; write > 0; write--)
            await machine.write(Math.floor(random() * 2), Math.floor(random() * 65))
        }
        await some()
        const mode = random() < 0.5 ? 'guarded' : 'push'
        const fails = random() < 0.3
        const made = machine.run({ since: last, mode, fails, meanwhile: some })
        if (fails) await assert.rejects(made)
        else {
          last = await made
          machine.check(last)
          assert.deepEqual(last.reasons, {})
        }
      }
    })
  })
}
