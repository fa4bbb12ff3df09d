import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../src/live/qemu/attachment/footprint.ts'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../../cli/cli.ts'
import { until } from '../../storage/archive/processes.ts'
import { writeImage } from '../../support/image.ts'
import { lateness } from '../../support/lateness.ts'
import { startQemu } from '../../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../../support/qemu-builds.ts'
import { tmpDir } from '../../support/tmp.ts'

const limits = { timeout: 60_000 }

const HUNG = join(import.meta.dirname, '../../support/hung-calls.mjs')

/** A machine whose backup hangs in a write of its archive. */
async function hanging(t: TestContext, build: QemuBuild) {
  const dir = tmpDir(t)
  const image = join(dir, 'image')
  writeImage(image, 8 << 20, { noise: 8 << 20 })
  const blockdev = JSON.stringify({ driver: 'file', filename: image, 'node-name': 'disk' })
  const own = join(dir, 'own')
  const args = [
    '-blockdev',
    blockdev,
    '-device',
    'virtio-blk,drive=disk,id=dev',
    '-qmp',
    `unix:${own},server=on,wait=off`,
  ]
  const { qmp, child: qemu } = await startQemu(t, args, build)
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  const fifo = join(dir, 'never')
  execFileSync('mkfifo', [fifo])
  const env = { NODE_OPTIONS: `--import ${HUNG}`, HUNG_CALLS: 'write,writev', HUNG_FIFO: fifo, HUNG_NAME: '.partial' }
  const backup = ['backup', '-q', '--mode', 'guarded', '--qmp', qmp, '-o', join(dir, 'a.vma'), '--compress', 'none']
  const child = startCli(backup, { env })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  const closed = once(child, 'close')
  await until(() => existsSync(`${fifo}.waits`), 'the write that hangs')
  while (namesIn(await footprintOf(monitor)).length < 2) await sleep(20)
  return { qmp, qemu, monitor, child, closed, said: () => said }
}

describe('a backup that hangs in a write of its archive', limits, () => {
  for (const build of QEMU_BUILDS) {
    test(`ends on SIGINT, and has left QEMU before (${build.name})`, {
      ...limits,
      ...needsQemu(build, 'qemu-system-x86_64'),
    }, async (t) => {
      const { monitor, child, closed, said } = await hanging(t, build)
      const late = lateness()
      const begun = performance.now()
      child.kill('SIGINT')
      assert.deepEqual(await closed, [130, null], said())
      assert.ok(performance.now() - begun < 4000 + late())
      assert.deepEqual(namesIn(await footprintOf(monitor)), [])
      assert.match(said(), /^vmapipe: interrupted[^\n]*\n$/)
    })
  }

  const [build] = QEMU_BUILDS
  test('names what is left in a QEMU that does not answer', {
    ...limits,
    ...needsQemu(build, 'qemu-system-x86_64'),
  }, async (t) => {
    const { qmp, qemu, child, closed, said } = await hanging(t, build)
    qemu.kill('SIGSTOP')
    child.kill('SIGINT')
    assert.deepEqual(await closed, [130, null], said())
    qemu.kill('SIGCONT')
    assert.match(said(), /^vmapipe: interrupted; left behind: [^\n]*filters in QEMU[^\n]*\n$/)
    assert.equal((await vmapipe(['detach', '--qmp', qmp])).code, 0)
  })
})
