import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SIZE, TrackedMachine } from '../live/qemu/bitmaps/tracked-machine.ts'
import { needsQemu, QEMU_BUILDS } from '../support/qemu-builds.ts'
import { vmapipe } from './cli.ts'

const timeout = 180_000

for (const build of QEMU_BUILDS) {
  describe(`backup --qmp --since of ${build.name}`, { timeout, ...needsQemu(build, 'qemu-system-x86_64') }, () => {
    test('reads what was written since the newest archive; the chain restores', { timeout }, async (t: TestContext) => {
      const machine = await TrackedMachine.start(t, build)
      const folder = `${join(machine.dir, 'archives')}/`
      mkdirSync(folder)
      const backup = async () => {
        // Names of archives have the time in seconds, and one of another second is not overwritten.
        await sleep(1100)
        const args = ['--qmp', machine.qmp, '--guest', 'vm1', '--since', 'auto', '-o', folder]
        const { code, stderr } = await vmapipe(['backup', ...args])
        assert.equal(code, 0, stderr)
        return stderr
      }
      assert.match(await backup(), /full one: there is no archive of this guest/)
      await machine.write(0, 7)
      await machine.write(1, 8)
      const second = await backup()
      assert.doesNotMatch(second, /as a whole/)
      await machine.write(1, 9)
      await machine.quit()
      await machine.boot()
      await machine.write(0, 30)
      const third = await backup()
      assert.match(third, /drive drive-d0 is compared as a whole: QEMU has no bitmap/)
      assert.doesNotMatch(third, /drive-d1 is compared/)
      const [newest] = readdirSync(folder).sort().reverse()
      const into = join(machine.dir, 'restored')
      const { code, stderr } = await vmapipe(['restore', join(folder, newest), into])
      assert.equal(code, 0, stderr)
      for (const [index, truth] of machine.truth.entries()) {
        const restored = readFileSync(join(into, `disk-drive-d${index}.raw`))
        assert.equal(restored.length, SIZE)
        assert.ok(restored.equals(truth), `drive-d${index}`)
      }
      const detached = await vmapipe(['detach', '--qmp', machine.qmp, '--bitmaps'])
      assert.equal(detached.code, 0, detached.stderr)
      assert.match(detached.stderr, /^removed .*vmapipe-since-/)
      assert.deepEqual(await machine.bitmaps(), [])
    })
  })
}
