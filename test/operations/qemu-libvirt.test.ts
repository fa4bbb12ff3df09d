import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { vmapipe } from '../cli/cli.ts'
import { Console } from '../support/guest/console.ts'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { assertRestoredDisk } from '../support/guest/filesystem.ts'
import { machine, needsGuest } from '../support/guest/machine.ts'
import { checkOneInstant } from '../support/guest/records.ts'
import { needsLibvirt, startLibvirt } from '../support/libvirt.ts'
import { tmpDir } from '../support/tmp.ts'
import { which } from '../support/tools.ts'

const BOOT_MS = 60_000

/** The writer of test/support/guest, as libvirt has machines. */
function domain(name: string, dir: string, disks: readonly string[]): string {
  const files = { log: join(dir, 'console'), initramfs: join(dir, 'initramfs') }
  const args = machine(files, { role: 'writer', disks: disks.map((file) => ({ file })) }, 'tcg')
  const after = (flag: string) => args[args.indexOf(flag) + 1]
  const drives = disks.map(
    (file, index) => `<disk type='file' device='disk'><driver name='qemu' type='raw' discard='unmap'/>
      <source file='${file}'/><target dev='vd${'ab'[index]}' bus='virtio'/></disk>`,
  )
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc'>hvm</type><kernel>${after('-kernel')}</kernel>
      <initrd>${after('-initrd')}</initrd><cmdline>${after('-append')}</cmdline></os>
    <features><acpi/></features><cpu mode='custom'><model>qemu64</model></cpu>
    <devices><emulator>${which('qemu-system-x86_64')}</emulator>${drives.join('')}
      <serial type='file'><source path='${files.log}'/><target port='0'/></serial>
      <serial type='null'><target port='1'/></serial></devices></domain>`
}

describe('a backup of a guest of libvirt', { ...needsLibvirt() }, () => {
  test('is of one instant, marks the domain as tainted, and leaves nothing behind', {
    timeout: 180_000,
    ...needsGuest(),
  }, async (t) => {
    const dir = tmpDir(t)
    const disks = [0, 1].map((index) => join(dir, `disk${index}`))
    for (const disk of disks) makeGuestDisk(disk, 'libvirt')
    const libvirt = await startLibvirt(t, tmpDir(t))
    writeFileSync(join(dir, 'domain.xml'), domain('writer', dir, disks))
    writeFileSync(join(dir, 'console'), '')
    await libvirt.virsh('define', join(dir, 'domain.xml'))
    await libvirt.virsh('start', 'writer')
    const console = new Console(join(dir, 'console'))
    t.after(() => console.close())
    await console.waitFor('ACK 50', BOOT_MS, () => false)
    const acked = () => Number(console.matches('ACK (\\d+)').at(-1)![1])

    const env = { LIBVIRT_DEFAULT_URI: libvirt.uri }
    const listed = await vmapipe(['drives', '--libvirt', 'writer'], { env })
    assert.equal(listed.code, 0, listed.stderr)
    assert.match(listed.stdout.toString(), /^drive-virtio-disk0 .*\n(.*\n)?drive-virtio-disk1 /m)
    const full = join(dir, 'vm.vma.zst')
    const tracked = await vmapipe(['backup', '--libvirt', 'writer', '--track', '-o', full], { env })
    assert.equal(tracked.code, 0, tracked.stderr)
    const archive = join(dir, 'vm.vmi.zst')
    const before = acked()
    const { code, stderr } = await vmapipe(['backup', '--libvirt', 'writer', '--since', full, '-o', archive], { env })
    const begun = acked() + 1
    assert.doesNotMatch(stderr, /as a whole|no dirty bitmap/, 'dirty bitmaps tell what was written')
    assert.equal(code, 0, stderr)
    assert.match(stderr, /^WARNING: .*libvirt marks the domain writer as tainted \(custom-monitor\)/m)
    assert.doesNotMatch(stderr, /plain push/)
    assert.match(libvirt.domainLog('writer'), /tainted: custom-monitor/)

    while (acked() < begun + 20) await sleep(50)
    assert.deepEqual(console.diskErrors, [])
    const nodes = await libvirt.virsh('qemu-monitor-command', 'writer', '{"execute": "query-named-block-nodes"}')
    assert.match(nodes, /libvirt-/)
    assert.doesNotMatch(nodes, /"node-name":"vmapipe-/)
    await libvirt.virsh('destroy', 'writer')

    const into = join(dir, 'restored')
    const restored = await vmapipe(['restore', archive, into, '--quiet'])
    assert.equal(restored.code, 0, restored.stderr)
    const bounds = { acked: before, begun }
    const images = [0, 1].map((index) => join(into, `disk-drive-virtio-disk${index}.raw`))
    checkOneInstant(images.map((image) => assertRestoredDisk(t, image, bounds)))
  })
})
