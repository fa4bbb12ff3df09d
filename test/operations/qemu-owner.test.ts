import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { restore } from '../../src/operations/restore.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../cli/cli.ts'
import { qmpProxy } from '../live/qemu/qmp-proxy.ts'
import { writeImage } from '../support/image.ts'
import { startQemu } from '../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 120_000

const DRIVES = 3

/** A machine that runs, with some drives and two monitors besides the test's own. */
async function start(t: TestContext, build: QemuBuild) {
  const dir = tmpDir(t)
  const images = Array.from({ length: DRIVES }, (_, index) => join(dir, `image${index}`))
  const drives = images.flatMap((filename, index) => {
    writeImage(filename, 4 << 20, { noise: 2 << 20, text: 1 << 20, tail: 5000 })
    return [
      ...['-blockdev', JSON.stringify({ driver: 'file', filename, 'node-name': `node${index}` })],
      ...['-device', `virtio-blk-pci,drive=node${index},id=dev${index}`],
    ]
  })
  const [own, second] = ['own', 'second'].map((name) => join(dir, name))
  const monitors = [own, second].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`])
  const { qmp } = await startQemu(t, [...drives, ...monitors], build)
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  await monitor.execute('cont')
  return { dir, images, qmp, second, monitor, to: join(dir, 'x.vma') }
}

type Machine = Awaited<ReturnType<typeof start>>

async function assertAs({ monitor }: Machine, status: string): Promise<void> {
  assert.deepEqual(namesIn(await footprintOf(monitor)), [])
  assert.equal((await monitor.execute<any>('query-status')).status, status)
}

async function assertWhole(t: TestContext, { images }: Machine, from: string): Promise<void> {
  const into = join(tmpDir(t), 'restored')
  await restore({ from, into })
  for (const [index, image] of images.entries()) {
    assert.ok(readFileSync(image).equals(readFileSync(join(into, `disk-drive-dev${index}.raw`))), image)
  }
}

/** A backup that is killed when QEMU has done all before the first command of this name. */
async function killedBefore(t: TestContext, { qmp, to }: Machine, name: string, ...args: string[]): Promise<void> {
  const reached = Promise.withResolvers<void>()
  const proxy = await qmpProxy(t, qmp, async ({ execute }) => {
    if (execute !== name) return
    reached.resolve()
    await new Promise(() => {})
  })
  const child = startCli(['backup', '--qmp', proxy, '-o', to, '-q', ...args])
  t.after(() => child.kill('SIGKILL'))
  const ended = once(child, 'close')
  await Promise.race([reached.promise, ended.then(() => assert.fail('the backup ended early'))])
  child.kill('SIGKILL')
  await ended
}

for (const build of QEMU_BUILDS) {
  describe(`the guest of ${build.name}`, needsQemu(build, 'qemu-system-x86_64'), () => {
    test('that its owner pauses when a backup has just begun stays paused', { timeout }, async (t) => {
      const it = await start(t, build)
      const qmp = await qmpProxy(t, it.qmp, async ({ execute, arguments: args }) => {
        if (execute === 'blockdev-add' && args['node-name'] === 'vmapipe-tgt1') await it.monitor.execute('stop')
      })
      await backupGuest({ qmp, to: it.to, mode: 'guarded' })
      await assertAs(it, 'paused')
    })

    test('that its owner lets go on when a backup has just begun is stopped for it, and goes on', {
      timeout,
    }, async (t) => {
      const it = await start(t, build)
      await it.monitor.execute('stop')
      const qmp = await qmpProxy(t, it.qmp, async ({ execute, arguments: args }) => {
        if (execute === 'blockdev-add' && args['node-name'] === 'vmapipe-tgt1') await it.monitor.execute('cont')
      })
      const events: string[] = []
      it.monitor.on(({ event }) => events.push(event))
      await backupGuest({ qmp, to: it.to, mode: 'guarded' })
      assert.deepEqual(
        events.filter((event) => /STOP|RESUME/.test(event)),
        ['RESUME', 'STOP', 'RESUME'],
      )
      await assertAs(it, 'running')
    })

    test('goes on when a backup is killed that has just stopped it: by detach', { timeout }, async (t) => {
      const it = await start(t, build)
      for (const moment of ['nbd-server-start', 'qom-set', 'cont']) {
        await killedBefore(t, it, moment)
        assert.equal((await it.monitor.execute<any>('query-status')).status, 'paused')
        const { code, stderr } = await vmapipe(['detach', '--qmp', it.second])
        assert.equal(code, 0, stderr)
        assert.match(stderr, /^removed .*vmapipe-paused.*\nthe guest was paused by .* it runs again\n$/)
        await assertAs(it, 'running')
      }
    })

    test('goes on when a backup is killed that has just stopped it: by the next backup', { timeout }, async (t) => {
      const it = await start(t, build)
      await killedBefore(t, it, 'blockdev-add')
      await killedBefore(t, it, 'qom-set')
      const warnings: string[] = []
      await backupGuest({ qmp: it.second, to: it.to, warn: (message) => warnings.push(message) })
      assert.match(warnings.join('\n'), /had left .*\nthe guest was paused by .* it runs again/)
      await assertAs(it, 'running')
      await assertWhole(t, it, it.to)
    })

    test('has no NBD server left of a backup that was killed when it had started only that', { timeout }, async (t) => {
      const it = await start(t, build)
      await it.monitor.execute('stop')
      await killedBefore(t, it, 'block-export-add')
      const { code, stderr } = await vmapipe(['detach', '--qmp', it.second])
      assert.equal(code, 0, stderr)
      await assert.rejects(it.monitor.execute('nbd-server-stop'), { message: /not running/ })
      await killedBefore(t, it, 'block-export-add')
      await backupGuest({ qmp: it.second, to: it.to, mode: 'guarded', warn: () => {} })
      await assertAs(it, 'paused')
    })

    test('keeps the NBD server of its owner, which a backup that was killed had found running', {
      timeout,
    }, async (t) => {
      const it = await start(t, build)
      const addr = { type: 'unix', data: { path: join(it.dir, 'theirs') } }
      await it.monitor.execute('nbd-server-start', { addr })
      await killedBefore(t, it, 'block-export-add')
      const { code, stderr } = await vmapipe(['detach', '--qmp', it.second])
      assert.equal(code, 0, stderr)
      await it.monitor.execute('nbd-server-stop')
      await assertAs(it, 'running')
    })

    test('goes on when the connection is lost just then', { timeout }, async (t) => {
      const it = await start(t, build)
      let isOver = false
      const qmp = await qmpProxy(t, it.qmp, async ({ execute }) => {
        if (execute !== 'qom-set' || isOver) return
        isOver = true
        throw new Error('gone')
      })
      await assert.rejects(backupGuest({ qmp, to: it.to, mode: 'guarded' }))
      await assertAs(it, 'running')
    })

    test('that was paused before a backup was killed stays paused', { timeout }, async (t) => {
      const it = await start(t, build)
      await it.monitor.execute('stop')
      await killedBefore(t, it, 'qom-set')
      const { code, stderr } = await vmapipe(['detach', '--qmp', it.second])
      assert.equal(code, 0, stderr)
      assert.match(stderr, /\nthe guest is paused; if nobody wanted that, the QMP command `cont` continues it\n$/)
      await assertAs(it, 'paused')
    })

    for (const modes of [['guarded', 'guarded'] as const, ['guarded', 'push'] as const, ['push', 'push'] as const]) {
      test(`is backed up once by two backups that begin at once (${modes.join()}); the other takes nothing out`, {
        timeout,
      }, async (t) => {
        const it = await start(t, build)
        const archives = [it.to, join(it.dir, 'y.vma')]
        const both = await Promise.allSettled(
          [it.qmp, it.second].map((qmp, index) =>
            backupGuest({ qmp, to: archives[index], mode: modes[index], bwlimit: '8MiB/s' }),
          ),
        )
        const won = both.findIndex(({ status }) => status === 'fulfilled')
        const lost = both[1 - won]
        assert.ok(won !== -1 && lost.status === 'rejected', JSON.stringify(both))
        assert.match(lost.reason.message, /another vmapipe is backing up this guest/)
        await assertAs(it, 'running')
        await assertWhole(t, it, archives[won])
      })
    }
  })
}
