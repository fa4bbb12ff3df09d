import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { restore } from '../../src/operations/restore.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { startCli, vmapipe } from '../cli/cli.ts'
import { writeImage } from '../support/image.ts'
import { startQemu } from '../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000

const SIZE = (3 << 20) + 512

/** A machine with two drives of `-drive`, one with a name for a shell to stumble over, and a monitor for its owner. */
async function start(t: TestContext, build: QemuBuild, second = SIZE) {
  const dir = tmpDir(t)
  const images = ['image 0', 'image1'].map((name) => join(dir, name))
  for (const [index, size] of [SIZE, second].entries())
    writeImage(images[index], size, { noise: size >> 3, text: size >> 2, tail: 5000 })
  const drives = images.flatMap((image, index) => [
    ...['-drive', `if=none,id=drive${index},format=raw,file=${image}`],
    ...['-device', `virtio-blk-pci,drive=drive${index},id=dev${index}`],
  ])
  const own = join(dir, 'own')
  const { qmp, child } = await startQemu(t, [...drives, '-qmp', `unix:${own},server=on,wait=off`], build)
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  return { dir, images, qmp, monitor, child, overlay: join(dir, 'overlay.qcow2'), archive: join(dir, 'vm.vma') }
}

type Machine = Awaited<ReturnType<typeof start>>

/** A backup with `-q` that takes some seconds, once its filters are in. */
async function begin({ qmp, archive, monitor }: Machine, ...more: string[]) {
  const rate = ['--bwlimit', '2M', '--compress', 'none']
  const child = startCli(['backup', '--qmp', qmp, '-o', archive, '-q', ...rate, ...more])
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const outcome = once(child, 'close').then(([code]) => ({ code, stderr }))
  for (;;) {
    if (child.exitCode !== null) assert.fail(`it has ended: ${(await outcome).stderr}`)
    // The exports come last of all: the devices have their filters then. Backup jobs have theirs from the start.
    const exports = await monitor.execute<{ id: string }[]>('query-block-exports')
    const jobs = await monitor.execute<unknown[]>('query-jobs')
    if (jobs.length > 0 || exports.some(({ id }) => id.startsWith('vmapipe-snap'))) return { child, outcome }
    await sleep(10)
  }
}

function snapshot({ monitor, overlay }: Machine, file = overlay) {
  return monitor.execute('blockdev-snapshot-sync', { device: 'drive0', 'snapshot-file': file, format: 'qcow2' })
}

/** The command that the owner is told. */
function commandIn(line: string): string {
  const [command] = /qemu-img rebase -u .*$/m.exec(line) ?? []
  assert.ok(command, line)
  return command
}

/** Waits until QEMU has ended: until then it has its images. */
async function gone({ child }: Machine): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** As a QEMU would that is started again: the overlay can be opened, and has what its backing file has. */
function assertOpens({ overlay, images }: Machine, command: string): void {
  assert.throws(() => execFileSync('qemu-img', ['convert', '-O', 'raw', overlay, `${overlay}.raw`], { stdio: 'pipe' }))
  execFileSync('sh', ['-c', command])
  execFileSync('qemu-img', ['convert', '-O', 'raw', overlay, `${overlay}.raw`])
  assert.ok(readFileSync(`${overlay}.raw`).equals(readFileSync(images[0])))
}

async function assertWhole(t: TestContext, { archive, images }: Machine): Promise<void> {
  const into = join(tmpDir(t), 'restored')
  await restore({ from: archive, into })
  for (const [index, image] of images.entries())
    assert.ok(readFileSync(join(into, `disk-drive-dev${index}.raw`)).equals(readFileSync(image)))
}

for (const build of QEMU_BUILDS) {
  const here = { timeout: 120_000, ...needsQemu(build, 'qemu-system-x86_64') }
  describe(`a snapshot that the owner makes in ${build.name} during a backup`, here, () => {
    test('is an error with what to do, also with -q; the guest goes on', {
      timeout,
      ...needs('qemu-img'),
    }, async (t) => {
      const it = await start(t, build)
      const cli = await begin(it)
      await snapshot(it)
      const { code, stderr } = await cli.outcome
      assert.equal(code, 1)
      assert.match(
        stderr,
        /^vmapipe: (the archive is whole, but )?a snapshot was made.*overlay\.qcow2 stands on a filter of the backup/,
      )
      assert.match(stderr, /vmapipe-cbw0 has to stay in QEMU until the guest is switched off/)

      // It may have been read before, all of it.
      assert.equal(existsSync(it.archive), stderr.includes('the archive is whole'))
      if (existsSync(it.archive)) await assertWhole(t, it)

      // What the overlay stands on stays; everything else is gone, also after `detach`, which says the same.
      const kept = ['vmapipe-cbw0', 'vmapipe-hold0', 'vmapipe-tgt0']
      assert.deepEqual(namesIn(await footprintOf(it.monitor)).sort(), kept)
      const detached = await vmapipe(['detach', '--qmp', it.qmp])
      assert.equal(detached.code, 1)
      assert.equal(commandIn(detached.stderr), commandIn(stderr))
      assert.deepEqual(namesIn(await footprintOf(it.monitor)).sort(), kept)
      const io = await it.monitor.execute<string>('human-monitor-command', {
        'command-line': 'qemu-io drive0 "write -P 7 0 64k"',
      })
      assert.doesNotMatch(io, /rror|failed/)

      const again = await vmapipe(['backup', '--qmp', it.qmp, '-o', join(it.dir, 'again.vma'), '-q'])
      assert.equal(again.code, 1)
      assert.equal(commandIn(again.stderr), commandIn(stderr))
      assert.equal(existsSync(join(it.dir, 'again.vma')), false)
      await it.monitor.execute('human-monitor-command', { 'command-line': 'qemu-io drive0 "write -z 0 64k"' })
      writeFileSync(it.images[0], Buffer.alloc(65536), { flag: 'r+' })
      await it.monitor.execute('quit')
      await gone(it)
      assertOpens(it, commandIn(stderr))
    })

    test('is told of even if QEMU ends before the backup', { timeout, ...needs('qemu-img') }, async (t) => {
      const it = await start(t, build)
      const cli = await begin(it, '--bwlimit', '200K')
      await snapshot(it)
      // The backup looks twice a second; it says nothing of what it has seen before its end.
      await sleep(5000)
      it.child.kill('SIGKILL')
      await gone(it)
      const { code, stderr } = await cli.outcome
      assert.equal(code, 1)
      assert.match(stderr, /a snapshot was made.*; the backup failed: /)
      assertOpens(it, commandIn(stderr))
    })

    test('is told of after a kill of the backup, by detach', { timeout, ...needs('qemu-img') }, async (t) => {
      const it = await start(t, build)
      const cli = await begin(it)
      await snapshot(it)
      cli.child.kill('SIGKILL')
      await cli.outcome
      const detached = await vmapipe(['detach', '--qmp', it.qmp])
      assert.equal(detached.code, 1)
      it.child.kill('SIGKILL')
      await gone(it)
      assertOpens(it, commandIn(detached.stderr))
    })

    test('of a drive that is in the archive already costs no archive, and is an error all the same', {
      timeout,
      ...needs('qemu-img'),
    }, async (t) => {
      // The drives take turns: the first one is done long before the second.
      const it = await start(t, build, 10 * SIZE)
      const { monitor, qmp, archive: to } = it
      let made: Promise<unknown> | null = null
      const onGuest = ({ clusters }: { clusters: { scanned: number } }) => {
        if (clusters.scanned > (4 * SIZE) / 65536) made ??= snapshot(it)
      }
      const error = await backupGuest({ qmp, to, onGuest, bwlimit: '2M', compress: 'none' }).catch((reason) => reason)
      await made
      assert.match(error.message, /^the archive is whole, but a snapshot was made/)
      await assertWhole(t, it)
      const names = namesIn(await footprintOf(monitor)).sort()
      assert.deepEqual(names, ['vmapipe-cbw0', 'vmapipe-hold0', 'vmapipe-tgt0'])
    })

    test('that is committed again after the backup lets everything go', {
      timeout,
      ...needs('qemu-img'),
    }, async (t) => {
      const it = await start(t, build)
      const cli = await begin(it)
      await snapshot(it)
      await cli.outcome
      await it.monitor.execute('block-commit', { device: 'drive0', 'job-id': 'j', 'base-node': 'vmapipe-cbw0' })
      for (;;) {
        const [job] = await it.monitor.execute<any>('query-block-jobs')
        if (job === undefined) break
        if (job.ready) await it.monitor.execute('block-job-complete', { device: 'j' }).catch(() => {})
        await sleep(20)
      }
      const { code, stderr } = await vmapipe(['detach', '--qmp', it.qmp])
      assert.equal(code, 0, stderr)
      assert.deepEqual(namesIn(await footprintOf(it.monitor)), [])
    })

    test('under plain push is refused by QEMU, or told of', { timeout, ...needs('qemu-img') }, async (t) => {
      const it = await start(t, build)
      const cli = await begin(it, '--mode', 'push')
      const refused = await snapshot(it).then(
        () => null,
        (error) => error,
      )
      const { code, stderr } = await cli.outcome
      t.diagnostic(refused === null ? `made: ${stderr}` : String(refused))
      assert.deepEqual(namesIn(await footprintOf(it.monitor)), [])
      await assertWhole(t, it)
      if (refused !== null) assert.equal(code, 0, stderr)
      else {
        assert.equal(code, 1)
        it.child.kill('SIGKILL')
        await gone(it)
        assertOpens(it, commandIn(stderr))
      }
    })
  })
}
