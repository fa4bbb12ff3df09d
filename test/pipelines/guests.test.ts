import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { assertArchive, MiB, makeDisk } from '../live/images.ts'
import { serve } from '../live/serving.ts'
import { needsLibvirt, startLibvirt } from '../support/libvirt.ts'
import { loopDevice, needsLoopDevice } from '../support/loop-device.ts'
import { startQemu } from '../support/qemu.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs, which } from '../support/tools.ts'
import { run, succeeds } from './running.ts'

const limits = { timeout: 90_000 }

const NAMES = ['drive-scsi0', 'drive-scsi1']

function disks(dir: string): Record<string, string> {
  const made = Object.fromEntries(NAMES.map((name) => [name, join(dir, `${name}.raw`)]))
  for (const path of Object.values(made)) makeDisk(path, 8 * MiB)
  return made
}

/** A QEMU with two drives, and what of a backup is left in it. */
async function machine(t: TestContext) {
  const dir = tmpDir(t)
  const images = disks(dir)
  const drives = Object.entries(images).flatMap(([name, image], index) => [
    ...['-blockdev', `driver=file,node-name=node${index},discard=unmap,filename=${image}`],
    ...['-device', `scsi-hd,id=${name.replace('drive-', '')},drive=node${index},share-rw=on`],
  ])
  const own = join(dir, 'own')
  const { qmp } = await startQemu(t, [
    ...['-device', 'virtio-scsi-pci', ...drives],
    ...['-qmp', `unix:${own},server=on,wait=off`],
  ])
  const monitor = await QmpClient.connect(own)
  t.after(() => monitor.close())
  return { dir, images, qmp, monitor, left: async () => namesIn(await footprintOf(monitor)) }
}

test('guest-attach.yaml: a guest whose disk is served', limits, async (t) => {
  const dir = tmpDir(t)
  const images = disks(dir)
  const { control } = await serve(t, images)
  const ARCHIVE = join(dir, 'vm.vma.zst')
  const { code, stderr } = await run('guest-attach.yaml', { CONTROL: control, ARCHIVE })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /backup of guest at .*, drive-scsi0 8\.0 MiB, drive-scsi1 8\.0 MiB to .*\(zstd\)/)
  assert.match(stderr, /guest: 0\.0% of its clusters were copied/)
  await assertArchive(t, ARCHIVE, images)
})

describe('a guest of a stock QEMU', { ...limits, ...needs('qemu-system-x86_64') }, () => {
  test('guest-qmp.yaml: into a file', limits, async (t) => {
    const { dir, images, qmp, left } = await machine(t)
    const ARCHIVE = join(dir, 'vm.vma.zst')
    await succeeds(run('guest-qmp.yaml', { QMP: qmp, ARCHIVE }))
    await succeeds(run('restore-file.yaml', { ARCHIVE, DIR: join(dir, 'out') }))
    for (const [name, image] of Object.entries(images)) assertSame(join(dir, 'out', `disk-${name}.raw`), image)
    assert.deepEqual(await left(), [])
  })

  test('guest-ssh.yaml: to another machine', { ...limits, ...needs('sshd', 'ssh', 'ssh-keygen') }, async (t) => {
    const { dir, images, qmp, left } = await machine(t)
    const { home } = await startSshd(t)
    const TARGET = `ssh://${SSH_HOST}${home}/vm.vma.zst`
    await succeeds(run('guest-ssh.yaml', { QMP: qmp, TARGET }))
    await succeeds(run('restore-ssh.yaml', { SOURCE: TARGET, DIR: join(dir, 'out') }))
    for (const [name, image] of Object.entries(images)) assertSame(join(dir, 'out', `disk-${name}.raw`), image)
    assert.deepEqual(await left(), [])
  })

  test('guest-age.yaml and restore-age.yaml: encrypted, and back', {
    ...limits,
    ...needs('age', 'age-keygen'),
  }, async (t) => {
    const { dir, images, qmp, left } = await machine(t)
    const [KEY, TARGET] = [join(dir, 'key.txt'), join(dir, 'vm.vma.zst.age')]
    const RECIPIENT = /age1\w+/.exec(
      execFileSync('age-keygen', ['-o', KEY], { stdio: 'pipe' }).toString() || readFileSync(KEY, 'utf8'),
    )![0]
    await succeeds(run('guest-age.yaml', { QMP: qmp, RECIPIENT, TARGET }))
    assert.match(readFileSync(TARGET, 'latin1'), /^age-encryption\.org\/v1\n/)
    await succeeds(run('restore-age.yaml', { SOURCE: TARGET, KEY, DIR: join(dir, 'out') }))
    for (const [name, image] of Object.entries(images)) assertSame(join(dir, 'out', `disk-${name}.raw`), image)
    assert.deepEqual(await left(), [])
    const wrong = await run('guest-age.yaml', { QMP: qmp, RECIPIENT: 'nobody', TARGET: `${TARGET}.2` })
    assert.equal(wrong.code, 2)
    assert.deepEqual(await left(), [], 'nothing is left in QEMU if nobody can be encrypted for')
  })

  test('restore-nbd.yaml: onto a drive of a QEMU that runs', limits, async (t) => {
    const { dir, images, qmp, monitor } = await machine(t)
    const ARCHIVE = join(dir, 'vm.vma.zst')
    await succeeds(run('guest-qmp.yaml', { QMP: qmp, ARCHIVE }))
    const before = readFileSync(images['drive-scsi0'])
    const socket = join(dir, 'nbd')
    await monitor.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socket } } })
    const there = { id: 'e0', type: 'nbd', name: 'drive0', 'node-name': 'node0', writable: true }
    await monitor.execute('block-export-add', there)
    await monitor.execute('human-monitor-command', { 'command-line': 'qemu-io node0 "write -P 7 0 4M"' })
    assert.ok(!readFileSync(images['drive-scsi0']).equals(before))
    await succeeds(run('restore-nbd.yaml', { ARCHIVE, TARGET: `nbd+unix:///drive0?socket=${socket}` }))
    assert.ok(readFileSync(images['drive-scsi0']).equals(before))
  })
})

test('guest-two-targets.yaml: two places at once, and one if the other fails', {
  ...limits,
  ...needs('sshd', 'ssh', 'ssh-keygen', 'sha256sum'),
}, async (t) => {
  const dir = tmpDir(t)
  const images = disks(dir)
  const { control } = await serve(t, images)
  const { home } = await startSshd(t)
  const ARCHIVE = join(dir, 'vm.vma.zst')
  const TARGET = `ssh://${SSH_HOST}${home}/vm.vma.zst`
  const both = await run('guest-two-targets.yaml', { CONTROL: control, ARCHIVE, TARGET })
  assert.equal(both.code, 0, both.stderr)
  assert.match(both.stderr, /backup of guest at .* to here and there \(zstd\)/)
  assert.match(both.stderr, /guest: 0\.0% of its clusters were copied/)
  await assertArchive(t, ARCHIVE, images)
  assertSame(join(home, 'vm.vma.zst'), ARCHIVE)
  const { stdout } = spawnSync('sha256sum', ['-c', 'vm.vma.zst.sha256'], { cwd: dir, encoding: 'utf8' })
  assert.equal(stdout, 'vm.vma.zst: OK\n')
  const again = join(dir, 'again.vma.zst')
  const half = await run('guest-two-targets.yaml', {
    CONTROL: control,
    ARCHIVE: again,
    TARGET: join(dir, 'none/x.vma.zst'),
  })
  assert.equal(half.code, 0, half.stderr)
  assert.match(half.stderr, /branch 'there' failed/)
  await assertArchive(t, again, images)
})

test('guest-libvirt.yaml: by its name, of the libvirt of this URI', {
  ...limits,
  ...needsLibvirt(),
  ...(which('qemu-system-x86_64') === undefined && needs('qemu-system-x86_64')),
}, async (t) => {
  const dir = tmpDir(t)
  const images = disks(dir)
  const libvirt = await startLibvirt(t, tmpDir(t))
  const devices = Object.values(images).map(
    (file, index) => `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${file}'/>
      <target dev='sd${'ab'[index]}' bus='scsi'/><alias name='ua-scsi${index}'/></disk>`,
  )
  writeFileSync(
    join(dir, 'domain.xml'),
    `<domain type='qemu'><name>web01</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc'>hvm</type></os><cpu mode='custom'><model>qemu64</model></cpu>
    <devices><emulator>${which('qemu-system-x86_64')}</emulator>${devices.join('')}
      <controller type='scsi' model='virtio-scsi'/></devices></domain>`,
  )
  await libvirt.virsh('define', join(dir, 'domain.xml'))
  await libvirt.virsh('start', 'web01')
  const ARCHIVE = join(dir, 'web01.vma.zst')
  await succeeds(run('guest-libvirt.yaml', { DOMAIN: 'web01', CONNECT: libvirt.uri, ARCHIVE }))
  const nodes = await libvirt.virsh('qemu-monitor-command', 'web01', '{"execute": "query-named-block-nodes"}')
  assert.doesNotMatch(nodes, /"node-name":"vmapipe-/)
  await succeeds(run('restore-file.yaml', { ARCHIVE, DIR: join(dir, 'out') }))
  for (const [index, image] of Object.values(images).entries())
    assertSame(join(dir, 'out', `disk-drive-ua-scsi${index}.raw`), image)
})

test('restore-devices.yaml: onto block devices', { ...limits, ...needsLoopDevice }, async (t) => {
  const dir = tmpDir(t)
  const images = disks(dir)
  const { control } = await serve(t, images)
  const ARCHIVE = join(dir, 'vm.vma.zst')
  await succeeds(run('guest-attach.yaml', { CONTROL: control, ARCHIVE }))
  const devices = NAMES.map((name) => {
    const path = join(dir, `${name}.device`)
    writeFileSync(path, Buffer.alloc(8 * MiB, 0x5a))
    try {
      return loopDevice(t, path)
    } catch (error) {
      return lacking(t, `no loop device: ${(error as Error).message}`)
    }
  })
  const [DEVICE0, DEVICE1] = devices
  if (DEVICE0 === undefined || DEVICE1 === undefined) return
  await succeeds(run('restore-devices.yaml', { ARCHIVE, DEVICE0, DEVICE1 }))
  for (const [index, image] of Object.values(images).entries()) assertSame(devices[index]!, image)
})

function assertSame(path: string, image: string): void {
  assert.ok(readFileSync(path).equals(readFileSync(image)), `${path} is as ${image}`)
}
