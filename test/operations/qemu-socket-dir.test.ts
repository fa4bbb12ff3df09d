import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../cli/cli.ts'
import { writeImage } from '../support/image.ts'
import { startQemu } from '../support/qemu.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const limits = { timeout: 120_000 }

describe('--socket-dir', { ...limits, ...needs('qemu-system-x86_64') }, () => {
  // QEMU tells where it pushes to by a URI in which nothing is escaped.
  for (const name of ['plain', 'a%20b?c#d &"x']) {
    test(`may be relative to our folder, which is not QEMU's, and be called ${name}`, limits, async (t) => {
      const cwd = tmpDir(t)
      const folder = join(cwd, name)
      mkdirSync(folder)
      const filename = join(cwd, 'image')
      writeImage(filename, 4 << 20, { noise: 4 << 20 })
      const own = join(cwd, 'own')
      const { qmp } = await startQemu(t, [
        ...['-blockdev', JSON.stringify({ driver: 'file', filename, 'node-name': 'disk' })],
        ...['-device', 'virtio-blk-pci,drive=disk,id=dev', '-qmp', `unix:${own},server=on,wait=off`],
      ])
      const monitor = await QmpClient.connect(own)
      t.after(() => monitor.close())
      const args = ['backup', '-q', '--qmp', qmp, '-o', 'x.vma', '-f', '--socket-dir', name]
      const whole = await vmapipe(args, { cwd })
      assert.equal(whole.code, 0, whole.stderr)
      assert.deepEqual(readdirSync(folder), [])

      const child = startCli([...args, '--bwlimit', '1MiB'], { cwd })
      const closed = once(child, 'close')
      while ((await footprintOf(monitor)).targets.length === 0) await sleep(20)
      child.kill('SIGKILL')
      await closed
      assert.ok(readdirSync(folder).length > 0)
      const { code, stderr } = await vmapipe(['detach', '--qmp', qmp], { cwd })
      assert.equal(code, 0, stderr)
      assert.deepEqual(namesIn(await footprintOf(monitor)), [])
      assert.deepEqual(readdirSync(folder), [])
    })
  }
})
