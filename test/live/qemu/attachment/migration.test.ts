import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../../../src/live/qemu/attachment/footprint.ts'
import { backupGuest } from '../../../../src/operations/backup-guest.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { writeImage } from '../../../support/image.ts'
import { startQemu } from '../../../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../../../support/qemu-builds.ts'
import { tmpDir } from '../../../support/tmp.ts'

const timeout = 60_000

/** A machine that runs, with one drive; a migration of it waits, before it hands the drive over, until `go`. */
async function machine(t: TestContext, build: QemuBuild) {
  const dir = tmpDir(t)
  const [filename, own] = ['image', 'own'].map((name) => join(dir, name))
  writeImage(filename, 20 << 20, { noise: 10 << 20, text: 1 << 20, tail: 0 })
  const drive = ['-blockdev', JSON.stringify({ driver: 'file', filename, 'node-name': 'node' })]
  const device = ['-device', 'virtio-blk-pci,drive=node,id=disk']
  const { qmp } = await startQemu(t, [...drive, ...device, '-qmp', `unix:${own},server=on,wait=off`], build)
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  const capabilities = [{ capability: 'pause-before-switchover', state: true }]
  await monitor.execute('migrate-set-capabilities', { capabilities })
  await monitor.execute('cont')
  return {
    ...{ dir, qmp, monitor },
    migrate: () => monitor.execute('migrate', { uri: 'exec:cat >/dev/null' }),
    /** Resolves when the migration is so far. */
    async reached(wanted: string): Promise<void> {
      for (;;) {
        const { status } = await monitor.execute<{ status?: string }>('query-migrate')
        if (status === wanted) return
        assert.notEqual(status, 'failed')
        await sleep(10)
      }
    },
    go: () => monitor.execute('migrate-continue', { state: 'pre-switchover' }),
  }
}

for (const build of QEMU_BUILDS) {
  describe(`a migration of the guest of ${build.name}`, needsQemu(build, 'qemu-system-x86_64'), () => {
    for (const mode of ['guarded', 'push'] as const) {
      test(`that begins during a backup (${mode}) ends the backup, and arrives`, { timeout }, async (t) => {
        const { dir, qmp, monitor, migrate, reached, go } = await machine(t, build)
        const backup = backupGuest({ qmp, to: join(dir, 'x.vma'), mode, bwlimit: '1MiB/s' })
        const ended = assert.rejects(backup, { code: 'FAILED', message: /the guest is being migrated \([a-z-]+\)/ })
        while (namesIn(await footprintOf(monitor)).every((name) => !/snap|job/.test(name))) await sleep(10)
        await migrate()
        await ended
        assert.deepEqual(namesIn(await footprintOf(monitor)), [])
        await reached('pre-switchover')
        await go()
        await reached('completed')
      })
    }

    test('that was cancelled is nothing to wait for: the guest is backed up where it stayed', {
      timeout,
    }, async (t) => {
      const { dir, qmp, monitor, migrate, reached } = await machine(t, build)
      await migrate()
      await reached('pre-switchover')
      await monitor.execute('migrate_cancel')
      await reached('cancelled')
      await backupGuest({ qmp, to: join(dir, 'x.vma') })
    })

    test('that has arrived leaves nothing to back up, and the guest is not started again', { timeout }, async (t) => {
      const { dir, qmp, monitor, migrate, reached, go } = await machine(t, build)
      await migrate()
      await reached('pre-switchover')
      await go()
      await reached('completed')
      await assert.rejects(backupGuest({ qmp, to: join(dir, 'x.vma') }), /the guest is being migrated \(postmigrate\)/)
      assert.equal((await monitor.execute<any>('query-status')).status, 'postmigrate')
    })
  })
}
