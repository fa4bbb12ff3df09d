import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { machineSchema } from '../../src/machine/machine.ts'
import { type BackupGuestOptions, backupGuest } from '../../src/operations/backup-guest.ts'
import { restore } from '../../src/operations/restore.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { writeImage } from '../support/image.ts'
import { startQemu } from '../support/qemu.ts'
import { needsQemu, QEMU_BUILDS, type QemuBuild } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 120_000

const SIZE = (3 << 20) + 1536

interface Machine {
  dir: string
  images: string[]
  qmp: string
  monitor: QmpClient
}

/** A machine that has not begun to run, with a drive for each of `devices`. */
async function start(
  build: QemuBuild,
  t: TestContext,
  devices: readonly string[],
  args: readonly string[],
): Promise<Machine> {
  const dir = tmpDir(t)
  const images = devices.map((_, index) => join(dir, `image${index}`))
  for (const image of images) writeImage(image, SIZE, { noise: 300_000, text: 1 << 20, tail: 5000 })
  const drives = devices.flatMap((device, index) => [
    ...['-blockdev', JSON.stringify({ driver: 'file', filename: images[index], 'node-name': `node${index}` })],
    ...['-device', `${device},drive=node${index},id=dev${index}`],
  ])
  const own = join(dir, 'own')
  const { qmp } = await startQemu(t, [...args, ...drives, '-qmp', `unix:${own},server=on,wait=off`], build)
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  return { dir, images, qmp, monitor }
}

async function backUp({ qmp, dir }: Machine, more: Partial<BackupGuestOptions> = {}) {
  const warnings: string[] = []
  const to = join(dir, 'vm.vma')
  const result = await backupGuest({ qmp, to, warn: (message) => warnings.push(message), ...more })
  return { result, warnings, to }
}

/** Which node each device uses. */
async function nodesInUse({ monitor }: Machine): Promise<string[]> {
  const blocks = await monitor.execute<{ inserted?: { 'node-name': string } }[]>('query-block')
  return blocks.flatMap(({ inserted }) => inserted?.['node-name'] ?? [])
}

async function assertRestores(t: TestContext, { images }: Machine, archive: string, names: string[]): Promise<string> {
  const into = join(tmpDir(t), 'restored')
  await restore({ from: archive, into })
  for (const [index, name] of names.entries()) {
    const [restored, image] = [join(into, `disk-${name}.raw`), images[index]].map((path) => readFileSync(path))
    assert.ok(restored.equals(image), `${name} is as it was`)
  }
  return into
}

async function assertUntouched(it: Machine): Promise<void> {
  assert.deepEqual(namesIn(await footprintOf(it.monitor)), [])
  assert.deepEqual(
    (await nodesInUse(it)).sort(),
    it.images.map((_, index) => `node${index}`),
  )
}

for (const build of QEMU_BUILDS) {
  describe(`a backup of the guest of ${build.name}`, {
    timeout: 120_000,
    ...needsQemu(build, 'qemu-system-x86_64'),
  }, () => {
    const machine = (t: TestContext, devices: readonly string[], args: readonly string[] = []) =>
      start(build, t, devices, args)

    test('of every kind of drive that can be switched; a guest that was paused stays paused', {
      timeout,
    }, async (t) => {
      const controllers = ['-device', 'virtio-scsi-pci', '-device', 'ahci,id=ahci']
      const it = await machine(t, ['virtio-blk-pci', 'scsi-hd', 'ide-hd,bus=ahci.0', 'nvme,serial=x'], controllers)
      const { to, warnings } = await backUp(it, { mode: 'guarded' })
      assert.deepEqual(warnings, [])
      const into = await assertRestores(
        t,
        it,
        to,
        [0, 1, 2, 3].map((index) => `drive-dev${index}`),
      )
      assert.equal((await it.monitor.execute<any>('query-status')).running, false)
      await assertUntouched(it)
      const { type, disks } = machineSchema.parse(JSON.parse(readFileSync(join(into, 'guest.json'), 'utf8')))
      assert.match(type!, /^pc/)
      assert.deepEqual(
        disks.map(({ drive, bus }) => [drive, bus]),
        ['virtio', 'scsi', 'sata', 'nvme'].map((bus, index) => [`drive-dev${index}`, bus]),
      )
    })

    test('of drives that are named, under the names that the user gives, with configs', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci', 'virtio-blk-pci'])
      const to = join(it.dir, 'x.vma.zst')
      const drives = { 'drive-scsi7': 'node1' }
      const configs = { 'guest.json': join(it.dir, 'mine') }
      writeFileSync(configs['guest.json'], 'mine')
      const { result } = await backUp(it, { to, drives, configs })
      assert.deepEqual(
        result.drives.map(({ name }) => name),
        ['drive-scsi7'],
      )
      const into = join(tmpDir(t), 'restored')
      await restore({ from: to, into })
      assert.ok(readFileSync(join(into, 'disk-drive-scsi7.raw')).equals(readFileSync(it.images[1])))
      assert.ok(
        readFileSync(join(into, 'guest.json')).equals(readFileSync(configs['guest.json'])),
        "the user's file goes in",
      )
    })

    test('by plain push, of a device that cannot be switched, and says why', { timeout }, async (t) => {
      const it = await machine(t, ['usb-storage'], ['-device', 'qemu-xhci'])
      const { warnings, to } = await backUp(it)
      assert.match(warnings.join(), /plain push.*drive-dev0 is a usb-storage/)
      await assertRestores(t, it, to, ['drive-dev0'])
      await assertUntouched(it)
      const guarded = backUp(it, { mode: 'guarded', force: true })
      await assert.rejects(guarded, { message: /drive-dev0 is a usb-storage/, hint: /--mode push/ })
      await assertUntouched(it)
    })

    test('by plain push, of a drive with an iothread without KVM, and says why', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci,iothread=io'], ['-object', 'iothread,id=io'])
      const { warnings, to } = await backUp(it)
      assert.match(warnings.join(), /plain push.*drive-dev0 has an iothread/)
      await assertRestores(t, it, to, ['drive-dev0'])
      await assertUntouched(it)
    })

    test("leaves QEMU's NBD server to whoever has started it", { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci', 'virtio-blk-pci'])
      const addr = { type: 'unix', data: { path: join(it.dir, 'foreign') } }
      await it.monitor.execute('nbd-server-start', { addr })
      await assert.rejects(backUp(it), { message: /NBD server already running/, hint: /--mode push/ })
      await assertUntouched(it)
      await it.monitor.execute('block-export-add', { type: 'nbd', id: 'theirs', 'node-name': 'node0' })
      const { to } = await backUp(it, { mode: 'push' })
      await assertRestores(t, it, to, ['drive-dev0', 'drive-dev1'])
      assert.equal((await it.monitor.execute<any>('query-block-exports')).length, 1)
    })

    test('says it if QEMU lets the guest wait for less than --max-stall', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci'])
      const { major, minor } = it.monitor.version
      const isOld = major < 9 || (major === 9 && minor < 1)
      const told: string[] = []
      const { warnings } = await backUp(it, { maxStall: 20_000, inform: (line) => told.push(line) })
      assert.equal(/^QEMU .* at most .*: --max-stall 20s is more$/.test(warnings.join()), isOld, warnings.join())
      // The time that nobody asked for is no warning.
      const usual = await backUp(it, { force: true, inform: (line) => told.push(line) })
      assert.deepEqual(usual.warnings, [])
      assert.equal(/^QEMU .* at most/m.test(told.join('\n')), isOld)
      assert.deepEqual((await backUp(it, { force: true, maxStall: 3000 })).warnings, [])
    })

    test('does not touch the guest where the target cannot be written', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci'])
      const events: string[] = []
      it.monitor.on(({ event }) => events.push(event))
      await it.monitor.execute('cont')
      await assert.rejects(backUp(it, { to: '/nowhere/x.vma' }), { message: /no such file or directory/ })
      await assertUntouched(it)
      assert.ok(!events.includes('STOP'))
    })

    test('of a folder for sockets that QEMU cannot reach fails with what to do', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci'])
      await assert.rejects(backUp(it, { socketDir: '/nowhere' }), { where: { file: '/nowhere' } })
      await assertUntouched(it)
    })

    test('is refused while the guest is being migrated', { timeout }, async (t) => {
      const it = await machine(t, ['virtio-blk-pci'])
      await it.monitor.execute('migrate-set-parameters', { 'max-bandwidth': 1000 })
      await it.monitor.execute('migrate', { uri: 'exec:cat >/dev/null' })
      await assert.rejects(backUp(it), { message: /the guest is being migrated/ })
      await it.monitor.execute('migrate_cancel')
      await assertUntouched(it)
    })
  })
}

/** Waits until filters, or the filters of jobs, are in. */
async function begun({ monitor }: Machine): Promise<void> {
  for (;;) {
    const nodes = await monitor.execute<{ drv: string }[]>('query-named-block-nodes', { flat: true })
    if (nodes.some(({ drv }) => drv === 'copy-before-write')) return
    await sleep(10)
  }
}

for (const build of QEMU_BUILDS) {
  describe(`a drive of ${build.name} that its owner resizes during a backup`, {
    timeout: 120_000,
    ...needsQemu(build, 'qemu-system-x86_64'),
  }, () => {
    for (const mode of ['guarded', 'push'] as const) {
      test(`keeps its size under ${mode} push; QEMU and the backup go on`, { timeout }, async (t) => {
        const image = join(tmpDir(t), 'named')
        writeImage(image, SIZE, { noise: 300_000, text: 1 << 20, tail: 5000 })
        // A drive that has a name of its own, as block_resize takes it, beside one of which only the node has.
        const drive = ['-drive', `if=none,id=named,format=raw,file=${image}`]
        const it = await start(
          build,
          t,
          ['virtio-blk-pci'],
          [...drive, '-device', 'virtio-blk-pci,drive=named,id=dev1'],
        )
        const backup = backUp(it, { mode, bwlimit: 2 << 20, compress: 'none' })
        await begun(it)
        for (const size of [65536, 2 * SIZE - 3072]) {
          for (const which of [{ device: 'named' }, { 'node-name': 'node0' }]) {
            const resized = it.monitor.execute('block_resize', { ...which, size })
            await assert.rejects(resized, /resize|in use|busy|exported/i, JSON.stringify({ ...which, size }))
          }
        }
        const { to } = await backup
        assert.deepEqual(namesIn(await footprintOf(it.monitor)), [])
        await assertRestores(t, { ...it, images: [it.images[0], image] }, to, ['drive-dev0', 'drive-dev1'])
        await it.monitor.execute('block_resize', { device: 'named', size: 2 * SIZE - 3072 })
      })
    }
  })
}
