import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { machineSchema } from '../../../src/machine/machine.ts'
import { type Outcome, startCli, vmapipe } from '../../cli/cli.ts'
import { until } from '../../storage/archive/processes.ts'
import { writeImage } from '../../support/image.ts'
import { type Libvirt, needsLibvirt, startLibvirt } from '../../support/libvirt.ts'
import { domainXml } from '../../support/libvirt-domain.ts'
import { qemuNbd } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const MIB = 2 ** 20

describe('a backup of a guest of libvirt that is shut off', { ...needsLibvirt() }, () => {
  let libvirt: Libvirt
  const hooks: (() => unknown)[] = []
  const suite = { after: (hook: () => unknown) => void hooks.push(hook) }
  before(async () => {
    libvirt = await startLibvirt(suite, tmpDir(suite))
  })
  after(async () => {
    for (const hook of hooks.reverse()) await hook()
  })

  const run = (...args: string[]): Promise<Outcome> =>
    vmapipe(args, { env: { LIBVIRT_DEFAULT_URI: libvirt.uri }, inside: libvirt.inside })
  const define = async (dir: string, name: string, xml: string) => {
    const file = join(dir, `${name}.xml`)
    writeFileSync(file, xml)
    await libvirt.virsh('define', file)
  }
  /** Backs up the domain and restores it; returns the folder. */
  const through = async (dir: string, name: string, ...more: string[]) => {
    const archive = join(dir, `${name}.vma.zst`)
    const made = await run('backup', '--libvirt', name, '-o', archive, '--force', ...more)
    assert.equal(made.code, 0, made.stderr)
    const into = join(dir, `${name}.restored`)
    const restored = await run('restore', archive, into, '--quiet', '--force')
    assert.equal(restored.code, 0, restored.stderr)
    return { into, stderr: made.stderr }
  }

  test('has its images by their formats, its XML and what machine it is; CD-ROMs and transient disks are not in it', {
    timeout: 120_000,
    ...needs('qemu-img'),
  }, async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'raw.img')
    writeImage(raw, 8 * MIB, { noise: 3 * MIB, tail: MIB })
    const qcow2 = join(dir, 'other.qcow2')
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, qcow2])
    const more = `<disk type='file' device='cdrom'><source file='${raw}'/><target dev='sda' bus='sata'/></disk>
      <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${join(dir, 'gone')}'/><target dev='sdb' bus='sata'/><transient/></disk>`
    const disks = [{ file: raw }, { file: qcow2, format: 'qcow2' }]
    await define(dir, 'formats', domainXml({ name: 'formats', disks, more }))
    const { into, stderr } = await through(dir, 'formats')
    assert.match(stderr, /the domain formats is shut off/)
    assert.match(stderr, /drive-sata0-0-0 is a CD-ROM: left out/)
    assert.match(stderr, /drive-sata0-0-1 is transient: .*left out/)
    for (const name of ['virtio-disk0', 'virtio-disk1'])
      assert.ok(readFileSync(join(into, `disk-drive-${name}.raw`)).equals(readFileSync(raw)), name)
    const guest = machineSchema.parse(JSON.parse(readFileSync(join(into, 'guest.json'), 'utf8')))
    assert.equal(guest.from, 'libvirt')
    assert.equal(guest.memory, 256 * MIB)
    assert.deepEqual(
      guest.disks.map(({ drive, target, format }) => [drive, target, format]),
      [
        ['drive-virtio-disk0', 'vda', 'raw'],
        ['drive-virtio-disk1', 'vdb', 'qcow2'],
      ],
    )
    assert.equal(guest.networks?.[0].mac, '52:54:00:12:34:56')
    assert.match(readFileSync(join(into, 'domain.xml'), 'utf8'), /<name>formats<\/name>/)

    const without = await through(dir, 'formats', '--exclude', 'vdb')
    assert.doesNotMatch(without.stderr, /virtio-disk1/)
    const unknown = await run('backup', '--libvirt', 'formats', '--exclude', 'vdz', '-o', join(dir, 'x.vma'))
    assert.equal(unknown.code, 2)
    assert.match(unknown.stderr, /the guest has no drive 'vdz'; it has drive-virtio-disk0 \(vda\)/)
  })

  test('is incremental to the one before, and finds it by the name that the guest has when it runs too', {
    timeout: 120_000,
  }, async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'raw.img')
    writeImage(raw, 16 * MIB, { noise: 8 * MIB })
    await define(dir, 'since', domainXml({ name: 'since', disks: [{ file: raw }] }))
    const place = `${join(dir, 'archives')}/`
    mkdirSync(place)
    const first = await run('backup', '--libvirt', 'since', '--since', 'auto', '-o', place)
    assert.equal(first.code, 0, first.stderr)
    const bytes = readFileSync(raw)
    bytes.fill(1, MIB, MIB + 65536)
    writeFileSync(raw, bytes)
    const second = await run('backup', '--libvirt', 'since', '--since', 'auto', '-o', place)
    assert.equal(second.code, 0, second.stderr)
    assert.match(second.stderr, /\.vmi\.zst/)
    const newest = execFileSync('ls', [place], { encoding: 'utf8' })
      .split('\n')
      .find((name) => name.endsWith('.vmi.zst'))!
    const into = join(dir, 'into')
    const restored = await run('restore', join(place, newest), into, '-q')
    assert.equal(restored.code, 0, restored.stderr)
    assert.ok(readFileSync(join(into, 'disk-drive-virtio-disk0.raw')).equals(bytes))
  })

  test('reads the images below an image, and refuses what the XML or the image do not vouch for', {
    timeout: 120_000,
    ...needs('qemu-img'),
  }, async (t) => {
    const dir = tmpDir(t)
    const base = join(dir, 'base.raw')
    writeImage(base, 4 * MIB, { noise: 2 * MIB })
    const over = join(dir, 'over.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', over])
    await define(dir, 'chain', domainXml({ name: 'chain', disks: [{ file: over, format: 'qcow2' }] }))
    const { into, stderr } = await through(dir, 'chain')
    assert.match(stderr, /vda is read with the image below it, '.*base\.raw' \(raw\)/)
    assert.ok(readFileSync(join(into, 'disk-drive-virtio-disk0.raw')).equals(readFileSync(base)))

    const secret = '/etc/hostname'
    const refused = async (
      name: string,
      pattern: RegExp,
      options: { below: string; format: string | null; more?: string },
    ) => {
      const image = join(dir, `${name}.qcow2`)
      const format = options.format === null ? [] : ['-F', options.format]
      execFileSync('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-b', options.below, ...format, image, '4M'])
      await define(dir, name, domainXml({ name, disks: [{ file: image, format: 'qcow2', more: options.more ?? '' }] }))
      const { code, stderr } = await run('backup', '--libvirt', name, '-o', join(dir, 'refused.vma'))
      assert.equal(code, 1, stderr)
      assert.match(stderr, pattern)
    }
    await refused('system', /names '\/etc\/hostname' as the image below it, which is none/, {
      below: secret,
      format: 'raw',
    })
    await refused('ended', /and the domain's XML says that there is none/, {
      below: base,
      format: 'raw',
      more: '<backingStore/>',
    })
    const other = `<backingStore type='file'><format type='raw'/><source file='${join(dir, 'else.raw')}'/><backingStore/></backingStore>`
    await refused('other', /and the domain's XML names '.*else\.raw'/, { below: base, format: 'raw', more: other })
    await refused('protocol', /is over 'nbd:\/\/.*', which is no file/, { below: 'nbd://127.0.0.1:1/x', format: 'raw' })
    // A guest that could write its raw image could put a header of qcow2 there.
    const magic = join(dir, 'magic.raw')
    copyFileSync(over, magic)
    truncateSync(magic, MIB)
    await define(dir, 'magic', domainXml({ name: 'magic', disks: [{ file: magic }] }))
    const raw = await through(dir, 'magic')
    assert.ok(readFileSync(join(raw.into, 'disk-drive-virtio-disk0.raw')).equals(readFileSync(magic)))
  })

  test('refuses an image that another program has open, and while it reads, libvirt cannot start the guest', {
    timeout: 120_000,
    ...needs('qemu-img', 'qemu-nbd'),
  }, async (t) => {
    const dir = tmpDir(t)
    for (const format of ['raw', 'qcow2']) {
      const image = join(dir, `busy.${format}`)
      const noise = join(dir, 'noise')
      writeImage(noise, 16 * MIB, { noise: 12 * MIB })
      execFileSync('qemu-img', ['convert', '-O', format, noise, image])
      const name = `busy-${format}`
      await define(dir, name, domainXml({ name, disks: [{ file: image, format }] }))
      const backup = startCli(['backup', '--libvirt', name, '-o', 'exec:cat >/dev/null', '--bwlimit', '4MiB/s'], {
        env: { LIBVIRT_DEFAULT_URI: libvirt.uri },
        inside: libvirt.inside,
      })
      const ended = once(backup, 'close')
      let said = ''
      backup.stderr.setEncoding('utf8').on('data', (text) => {
        said += text
      })
      // It has opened its drives by then.
      await until(() => /backup of guest/.test(said) || backup.exitCode !== null, 'the backup reads')
      await assert.rejects(libvirt.virsh('start', name, '--paused'))
      // libvirt passes QEMU's words on only if it was connected to QEMU's monitor before QEMU ended.
      assert.match(libvirt.domainLog(name), /Failed to get .*lock/)
      assert.deepEqual(await ended, [0, null], said)
      await libvirt.virsh('start', name, '--paused')
      const forced = await run(
        'backup',
        '-d',
        `x=${format === 'raw' ? '' : 'qcow2:'}${image}`,
        '-o',
        join(dir, 'x.vma'),
      )
      assert.equal(forced.code, 1)
      assert.match(forced.stderr, /the image is in use by/)
      await libvirt.virsh('destroy', name)
    }
  })

  test('reads volumes of pools and NBD exports, and says of other servers that only QEMU can', {
    timeout: 120_000,
    ...needs('qemu-nbd'),
  }, async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'volume.img')
    writeImage(raw, 4 * MIB, { noise: 2 * MIB })
    await libvirt.virsh('pool-create-as', 'images', 'dir', '--target', dir)
    t.after(() => libvirt.virsh('pool-destroy', 'images'))
    const disk = (type: string, source: string) =>
      `<disk type='${type}' device='disk'><driver name='qemu' type='raw'/>${source}<target dev='vda' bus='virtio'/></disk>`
    const volume = disk('volume', "<source pool='images' volume='volume.img'/>")
    await define(dir, 'volume', domainXml({ name: 'volume', disks: [], more: volume }))
    const byPool = await through(dir, 'volume')
    assert.ok(readFileSync(join(byPool.into, 'disk-drive-virtio-disk0.raw')).equals(readFileSync(raw)))

    const socket = join(dir, 'nbd.sock')
    await qemuNbd(t, socket, ['-r', '-f', 'raw', '-x', 'disk', raw])
    const nbd = disk(
      'network',
      `<source protocol='nbd' name='disk'><host transport='unix' socket='${socket}'/></source>`,
    )
    await define(dir, 'nbd', domainXml({ name: 'nbd', disks: [], more: nbd }))
    const byNbd = await through(dir, 'nbd')
    assert.ok(readFileSync(join(byNbd.into, 'disk-drive-virtio-disk0.raw')).equals(readFileSync(raw)))

    const iscsi = disk('network', "<source protocol='iscsi' name='iqn.x/0'><host name='127.0.0.1' port='1'/></source>")
    await define(dir, 'iscsi', domainXml({ name: 'iscsi', disks: [], more: iscsi }))
    const { code, stderr } = await run('backup', '--libvirt', 'iscsi', '-o', join(dir, 'x.vma'))
    assert.equal(code, 1)
    assert.match(stderr, /the disk vda is on a server of the kind 'iscsi'.*--exclude vda/)

    // The driver is not installed here, or there is no such server.
    const source = "<source protocol='rbd' name='pool/image'><host name='127.0.0.1' port='1'/></source>"
    await define(dir, 'rbd', domainXml({ name: 'rbd', disks: [], more: disk('network', source) }))
    const rbd = await run('backup', '--libvirt', 'rbd', '-o', join(dir, 'x.vma'))
    assert.equal(rbd.code, 1)
    assert.match(rbd.stderr, /rbd.*\(drive vda\)|drive vda.*rbd/)
  })

  test('has the variables of UEFI as a drive and the state of the TPM as a file', {
    timeout: 180_000,
    ...needs('swtpm', 'qemu-system-x86_64'),
  }, async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'raw.img')
    writeImage(raw, 4 * MIB, { noise: MIB })
    await define(dir, 'secrets', domainXml({ name: 'secrets', disks: [{ file: raw }], uefi: true, tpm: true }))
    const never = await run('backup', '--libvirt', 'secrets', '-o', join(dir, 'never.vma'))
    assert.equal(never.code, 0, never.stderr)
    assert.match(never.stderr, /the variables of UEFI are left out: there is no file .*secrets_VARS\.fd' yet/)
    assert.match(never.stderr, /the state of the guest's TPM is not in the archive/)
    // libvirt makes them when the guest starts.
    await libvirt.virsh('start', 'secrets', '--paused')
    const running = await run('backup', '--libvirt', 'secrets', '-o', join(dir, 'running.vma'))
    assert.equal(running.code, 0, running.stderr)
    assert.match(running.stderr, /the state of the guest's TPM is not in the archive, because the guest runs/)
    assert.doesNotMatch(running.stderr, /plain push/, 'the flash does not cost the guest its guard')
    const live = join(dir, 'live')
    assert.equal((await run('restore', join(dir, 'running.vma'), live, '-q')).code, 0)
    await libvirt.virsh('destroy', 'secrets')
    const { into } = await through(dir, 'secrets')
    const variables = execFileSync(
      libvirt.inside[0],
      [...libvirt.inside.slice(1), 'cat', '/var/lib/libvirt/qemu/nvram/secrets_VARS.fd'],
      { maxBuffer: 8 * MIB },
    )
    assert.ok(readFileSync(join(into, 'disk-drive-pflash1.raw')).equals(variables))
    assert.ok(
      readFileSync(join(live, 'disk-drive-pflash1.raw')).length === variables.length,
      'the same drive while it runs',
    )
    assert.ok(readFileSync(join(into, 'tpm2-00.permall')).length > 1000)
    const guest = machineSchema.parse(JSON.parse(readFileSync(join(into, 'guest.json'), 'utf8')))
    assert.deepEqual(guest.firmware, { kind: 'uefi', variables: 'drive-pflash1' })
    assert.deepEqual(guest.tpm, { version: '2.0', state: 'tpm2-00.permall' })
    assert.equal(dirname(into), dir)
  })
})
