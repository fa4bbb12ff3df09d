import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { needsQemu, QEMU_BUILDS } from '../../../support/qemu-builds.ts'
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
  })
}
