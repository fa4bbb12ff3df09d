import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { Claim } from '../../../../src/live/qemu/attachment/claim.ts'
import { detach, detachAlone } from '../../../../src/live/qemu/attachment/detach.ts'
import { footprintOf, namesIn } from '../../../../src/live/qemu/attachment/footprint.ts'
import { addNote } from '../../../../src/live/qemu/attachment/notes.ts'
import { PushServer } from '../../../../src/live/qemu/push-server.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { startStorageDaemon } from '../../../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../../../support/qemu-builds.ts'
import { tmpDir } from '../../../support/tmp.ts'

const timeout = 60_000

const TAKEN = { code: 'FAILED', message: /another vmapipe is backing up this guest/ }

async function start(t: TestContext, build: QemuBuild) {
  const own = join(tmpDir(t), 'own')
  const monitor = ['--chardev', `socket,id=own,path=${own},server=on,wait=off`, '--monitor', 'chardev=own,id=own']
  const { qmp: path } = await startStorageDaemon(t, monitor, build)
  const [qmp, other] = await Promise.all([QmpClient.connect(path), QmpClient.connect(own)])
  t.after(() => qmp.close())
  t.after(() => other.close())
  return { qmp, other }
}

/** A socket that answers as long as the test goes on. */
async function alive(t: TestContext): Promise<string> {
  const server = await PushServer.create({ parent: tmpDir(t) })
  t.after(() => server.close())
  return server.lifeSocket
}

async function namesOf(qmp: QmpClient): Promise<string[]> {
  return namesIn(await footprintOf(qmp))
}

for (const build of QEMU_BUILDS) {
  describe(`a claim on ${build.name}`, needsQemu(build, 'qemu-storage-daemon'), () => {
    test('is had by one of those who want it at the same moment', { timeout }, async (t) => {
      const { qmp, other } = await start(t, build)
      const [first, second] = [await alive(t), await alive(t)]
      for (let round = 0; round < 20; round++) {
        const both = await Promise.allSettled([Claim.take(qmp, first), Claim.take(other, second)])
        const won = both.filter((result) => result.status === 'fulfilled')
        assert.equal(won.length, 1)
        assert.match(both.find((result) => result.status === 'rejected')!.reason.message, TAKEN.message)
        assert.deepEqual(await namesOf(qmp), [won[0].value.id])
        await won[0].value.release(qmp)
        assert.deepEqual(await namesOf(qmp), [])
      }
    })

    test('is had by one of those who find that of a run that was killed', { timeout }, async (t) => {
      const { qmp, other } = await start(t, build)
      const [first, second] = [await alive(t), await alive(t)]
      for (let round = 0; round < 20; round++) {
        await addNote(qmp, { id: 'vmapipe-run7', text: join(tmpDir(t), 'life') })
        const both = await Promise.allSettled([Claim.take(qmp, first), Claim.take(other, second)])
        const [won, ...more] = both.filter((result) => result.status === 'fulfilled')
        assert.ok(won !== undefined && more.length === 0)
        assert.deepEqual((await detach(qmp, won.value)).removed, ['vmapipe-run7'])
        await won.value.release(qmp)
        assert.deepEqual(await namesOf(qmp), [])
      }
    })

    test('is dead if nobody listens on its socket, and for no other reason', { timeout }, async (t) => {
      const { qmp } = await start(t, build)
      const file = join(tmpDir(t), 'file')
      writeFileSync(file, '')
      for (const text of ['', join(file, '../gone'), file]) {
        await addNote(qmp, { id: 'vmapipe-run1', text })
        const claim = await Claim.take(qmp, '')
        await detach(qmp, claim)
        await claim.release(qmp)
        assert.deepEqual(await namesOf(qmp), [], text)
      }
      for (const text of [join(file, 'x'), `/${'x'.repeat(300)}`]) {
        await addNote(qmp, { id: 'vmapipe-run1', text })
        await assert.rejects(Claim.take(qmp, ''), { code: 'FAILED', message: /another vmapipe may be backing up/ })
        assert.deepEqual(await namesOf(qmp), ['vmapipe-run1'])
        await qmp.execute('object-del', { id: 'vmapipe-run1' })
      }
    })

    test('of another user is not dead because its socket is that one', {
      timeout,
      skip: process.getuid?.() !== 0 && 'needs root: it becomes somebody else',
    }, async (t) => {
      const { qmp, other } = await start(t, build)
      const claim = await Claim.take(qmp, await alive(t))
      const NOBODY = 65534
      process.seteuid!(NOBODY)
      try {
        await assert.rejects(detachAlone(other), { code: 'FAILED', message: /EACCES/, hint: /as root/ })
      } finally {
        process.seteuid!(0)
      }
      assert.deepEqual(await namesOf(qmp), [claim.id])
      await assert.rejects(detachAlone(other), TAKEN)
    })
  })
}
