import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type BackupProxmoxOptions, backupProxmox } from '../../src/operations/proxmox/backup-proxmox.ts'
import { restore } from '../../src/operations/restore.ts'
import { proxmoxHost } from '../support/proxmox/host.ts'
import { inspect, objections } from '../support/proxmox/qmrestore.ts'
import { startQemu } from '../support/qemu.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const SIZE = 3 << 20

const GUEST = [
  '#the owner%3A Müller',
  'agent: 1',
  'bios: ovmf',
  'boot: order=scsi0;net0',
  'cores: 2',
  'efidisk0: local:100/vm-100-disk-0.qcow2,efitype=4m,size=528K',
  'ide0: local:100/vm-100-cloudinit.qcow2,media=cdrom',
  'ide2: none,media=cdrom',
  'memory: 2048',
  'name: web01',
  'net0: virtio=BC:24:11:00:00:01,bridge=vmbr0',
  'parent: before',
  'scsi0: local:100/vm-100-disk-1.qcow2,iothread=1,size=3M',
  'scsi1: local:100/vm-100-disk-2.raw,size=3M',
  'scsi2: local:100/vm-100-disk-3.raw,backup=0,size=3M',
  'scsihw: virtio-scsi-single',
  'tpmstate0: local:100/vm-100-disk-4.raw,size=4M,version=v2.0',
  'unused0: local:100/vm-100-disk-9.raw',
  '',
  '[PENDING]',
  'memory: 4096',
  '',
  '[special:cloudinit]',
  'name: web01',
  '',
  '[before]',
  'memory: 1024',
  'scsi0: local:100/vm-100-disk-1.qcow2,size=1M',
  'snaptime: 1700000000',
]

async function back(options: Partial<BackupProxmoxOptions> & { to: string }) {
  const warnings: string[] = []
  const { places, drives } = await backupProxmox({ vmid: 100, warn: (line) => warnings.push(line), ...options })
  return { archive: places[0], warnings, names: drives.map(({ name }) => name) }
}

test('a guest that is switched off is backed up as vzdump does it, from its images', {
  timeout,
  ...needs('qemu-img', 'qemu-nbd', 'zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  const images = [
    host.image('vm-100-disk-0.qcow2', 540_672),
    host.image('vm-100-disk-1.qcow2', SIZE),
    host.image('vm-100-disk-2.raw', SIZE),
    host.image('vm-100-disk-4.raw', 4 << 20),
  ]
  const config = host.config(...GUEST)
  const { archive, warnings, names } = await back({
    config,
    storages: host.storages,
    to: host.dump,
    notes: '{{guestname}} ({{vmid}})\\nan ü',
  })
  assert.deepEqual(warnings, [])
  assert.deepEqual(objections(archive), [])
  assert.deepEqual(names, ['drive-efidisk0', 'drive-scsi0', 'drive-scsi1', 'drive-tpmstate0-backup'])
  const stored = inspect(archive).configs.get('qemu-server.conf')!
  assert.deepEqual(
    stored.split('\n').filter((line) => line.startsWith('#qmdump')),
    [
      '#qmdump#map:efidisk0:drive-efidisk0:local:qcow2:',
      '#qmdump#map:scsi0:drive-scsi0:local:qcow2:',
      '#qmdump#map:scsi1:drive-scsi1:local:raw:',
      '#qmdump#map:tpmstate0:drive-tpmstate0-backup:local:raw:',
    ],
  )
  assert.match(stored, /^#the owner%3A Müller$/m)
  assert.doesNotMatch(stored, /\[|unused|parent|4096|1024/)
  assert.equal(readFileSync(`${archive}.notes`, 'utf8'), 'web01 (100)\nan ü')
  const log = readFileSync(archive.replace('.vma.zst', '.log'), 'utf8')
  assert.match(log, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO: backup of guest 100 \(web01\)$/m)
  assert.match(log, /INFO: scsi2 has backup=0 in the config: left out$/m)
  const into = join(tmpDir(t), 'restored')
  await restore({ from: archive, into })
  for (const [index, name] of names.entries()) {
    const [restored] = readdirSync(into).filter((file) => file.startsWith(`disk-${name}.`))
    execFileSync('qemu-img', ['compare', '-q', join(into, restored), images[index]])
  }
})

test('a drive that the user leaves out does not go on using the disk of the first guest', {
  timeout,
  ...needs('zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  host.image('vm-100-disk-2.raw', SIZE)
  const config = host.config(
    'memory: 512',
    'scsi0: ceph:vm-100-disk-0,size=1G',
    'scsi1: local:100/vm-100-disk-2.raw,size=3M',
  )
  const { archive } = await back({ config, storages: host.storages, to: host.dump, exclude: ['drive-scsi0'] })
  assert.deepEqual(objections(archive), [])
  assert.match(inspect(archive).configs.get('qemu-server.conf')!, /^scsi0: ceph:vm-100-disk-0,size=1G,backup=0$/m)
})

test('an image on a storage that is not known is named by the user', { timeout, ...needs('zstd') }, async (t) => {
  const host = proxmoxHost(t)
  const image = host.image('elsewhere.raw', SIZE)
  const config = host.config('memory: 512', 'virtio0: ceph:vm-100-disk-0,size=1G')
  const options = { config, storages: host.storages, to: host.dump }
  await assert.rejects(back(options), {
    code: 'FAILED',
    message: /virtio0 cannot be found: it is on 'ceph', a storage of the kind rbd/,
    hint: /--drive virtio0=PATH/,
  })
  assert.deepEqual(readdirSync(host.dump), [])
  const { archive } = await back({ ...options, drives: { virtio0: image }, compress: 'gzip' })
  assert.deepEqual(objections(archive), [])
  assert.match(basename(archive), /\.vma\.gz$/)
  assert.match(inspect(archive).configs.get('qemu-server.conf')!, /^#qmdump#map:virtio0:drive-virtio0:ceph:raw:$/m)
})

test('a guest without disks has an archive with its config alone', { timeout, ...needs('zstd') }, async (t) => {
  const host = proxmoxHost(t)
  const { archive } = await back({ config: host.config('memory: 512', 'ide2: none,media=cdrom'), to: host.dump })
  assert.deepEqual(objections(archive), [])
  assert.deepEqual(inspect(archive).devices.size, 0)
})

test('a locked guest, a compression that Proxmox does not know, and a number that is none are refused', async (t) => {
  const host = proxmoxHost(t)
  const locked = host.config('memory: 512', 'lock: migrate')
  await assert.rejects(back({ config: locked, to: host.dump }), {
    code: 'FAILED',
    message: /guest 100 is locked \(migrate\)/,
  })
  const config = host.config('memory: 512')
  await assert.rejects(back({ config, to: host.dump, compress: 'lz4' }), {
    code: 'USAGE',
    message: /Proxmox cannot read archives that are compressed with lz4/,
  })
  await assert.rejects(back({ config, to: `${host.dump}x.vma.lz4` }), { code: 'USAGE' })
  await assert.rejects(back({ config, to: host.dump, vmid: 99 }), {
    code: 'USAGE',
    message: /99 is no number of a guest/,
  })
  await assert.rejects(back({ config, to: host.dump, exclude: ['scsi7'] }), {
    code: 'USAGE',
    message: /no drive 'scsi7'/,
  })
  await assert.rejects(back({ config: '/etc/os-release', to: host.dump }), {
    code: 'USAGE',
    message: /no config of a guest/,
  })
  assert.deepEqual(readdirSync(host.dump), [])
})

test('a config of somebody else reads no file of the host and no disk of another guest', async (t) => {
  const host = proxmoxHost(t)
  host.image('vm-100-disk-0.raw', SIZE)
  writeFileSync(join(host.dir, 'secret'), 'secret')
  const hostile: [string, RegExp][] = [
    ['/etc/shadow', /is a file of the host by its path, '\/etc\/shadow', which is not followed/],
    ['/dev/../etc/shadow', /which is not followed/],
    ['/dev/null', /which is not followed/],
    ['local:100/../../../secret', /is no name of a volume/],
    ['local:../vm-100-disk-0.raw', /is no name of a volume/],
    ['local:101/vm-101-disk-0.raw', /is none of guest 100/],
    ['local:iso/secret.iso', /is none of guest 100/],
    ['local:vm-100-disk-0.raw', /it is on 'local'/],
    ['json:{"driver":"file","filename":"/etc/shadow"}', /cannot be found/],
    ['nbd://host/export', /cannot be found/],
    ['qcow2:/etc/shadow', /cannot be found/],
    ['', /cannot be found/],
  ]
  for (const [volume, message] of hostile) {
    const config = host.config('memory: 512', `scsi0: file=${volume},size=1M`)
    await assert.rejects(back({ config, storages: host.storages, to: host.dump }), { code: 'FAILED', message }, volume)
  }
  assert.deepEqual(readdirSync(host.dump), [])
})

test('whatever somebody puts into a config, the map lines are ours and name what is in the archive', {
  timeout,
  ...needs('zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  host.image('vm-100-disk-0.raw', SIZE)
  const config = host.config(
    '#qmdump#map:scsi0:drive-scsi9:local:raw:',
    '#qmdump#map:ide0:drive-ide0:local:raw:',
    '#vzdump#x',
    'memory: 512\r',
    'name: web01',
    'scsi0: local:100/vm-100-disk-0.raw,size=3M',
    'lock:',
    '[x] ',
    'scsi1: local:100/vm-100-disk-1.raw',
  )
  const { archive } = await back({ config, storages: host.storages, to: host.dump, notes: '{{guestname}}' })
  assert.deepEqual(objections(archive), [])
})

interface Running {
  qmp: string
  images: string[]
}

async function runningGuest(t: TestContext, ids: readonly string[]): Promise<Running> {
  const dir = tmpDir(t)
  const images = ids.map((id) => join(dir, `${id}.raw`))
  const drives = ids.flatMap((id, index) => {
    writeFileSync(images[index], Buffer.alloc(SIZE, id))
    const node = JSON.stringify({ driver: 'file', filename: images[index], 'node-name': `drive-${id}` })
    return ['-blockdev', node, '-device', `scsi-hd,drive=drive-${id},id=${id}`]
  })
  const { qmp } = await startQemu(t, ['-device', 'virtio-scsi-pci,id=scsihw0', ...drives])
  return { qmp, images }
}

test('a running guest is backed up by its QEMU, with the state of its TPM', {
  timeout,
  ...needs('qemu-system-x86_64', 'zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  const { qmp, images } = await runningGuest(t, ['scsi0', 'scsi1', 'scsi5'])
  const tpm = host.image('vm-100-disk-4.raw', 4 << 20)
  const config = host.config(
    'memory: 512',
    'scsi0: local:100/vm-100-disk-1.raw,size=3M',
    'scsi1: local-lvm:vm-100-disk-2,size=3M',
    'tpmstate0: local:100/vm-100-disk-4.raw,size=4M,version=v2.0',
  )
  const { archive, warnings, names } = await back({ config, storages: host.storages, to: host.dump, qmp })
  assert.deepEqual(objections(archive), [])
  assert.deepEqual(names, ['drive-scsi0', 'drive-scsi1', 'drive-tpmstate0-backup'])
  assert.match(warnings.join('\n'), /drive-scsi5 is in QEMU, but not in the config of guest 100: left out/)
  const into = join(tmpDir(t), 'restored')
  await restore({ from: archive, into })
  const expected = [images[0], images[1], tpm]
  for (const [index, name] of names.entries())
    assert.ok(readFileSync(join(into, `disk-${name}.raw`)).equals(readFileSync(expected[index])), name)
})

test('a state of the TPM that cannot be read is left out with a warning, and so is its drive in the restored guest', {
  timeout,
  ...needs('qemu-system-x86_64', 'zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  const { qmp } = await runningGuest(t, ['scsi0'])
  const config = host.config(
    'memory: 512',
    'scsi0: local-lvm:vm-100-disk-1',
    'tpmstate0: ceph:vm-100-disk-4,version=v2.0',
  )
  const { archive, warnings } = await back({ config, storages: host.storages, to: host.dump, qmp })
  assert.match(warnings.join('\n'), /the state of the TPM is left out, and a restored guest has a new one/)
  assert.deepEqual(objections(archive), [])
})

test('a drive of the config that QEMU does not have is an error, unless it is excluded', {
  timeout,
  ...needs('qemu-system-x86_64', 'zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  const { qmp } = await runningGuest(t, ['scsi0'])
  const config = host.config('memory: 512', 'scsi0: local-lvm:vm-100-disk-1', 'scsi3: local-lvm:vm-100-disk-2')
  await assert.rejects(back({ config, to: host.dump, qmp }), {
    code: 'FAILED',
    message: /guest 100 runs without the drive scsi3 of its config/,
    hint: /--exclude scsi3/,
  })
  const { archive } = await back({ config, to: host.dump, qmp, exclude: ['scsi3'] })
  assert.deepEqual(objections(archive), [])
})

test('every night with --since: the names are of Proxmox, the full archive is taken by it', {
  timeout,
  ...needs('zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  host.image('vm-100-disk-0.raw', SIZE)
  const config = host.config('memory: 512', 'scsi0: local:100/vm-100-disk-0.raw,size=3M')
  const options = { config, storages: host.storages, to: host.dump, since: 'auto' }
  const first = await back(options)
  assert.deepEqual(objections(first.archive), [])
  // Its name has the second; the next one is to be of another.
  const sunday = first.archive.replace(/\d\d_\d\d_\d\d\.vma/, '00_00_00.vma')
  renameSync(first.archive, sunday)
  const second = await back(options)
  assert.match(basename(second.archive), /^vzdump-qemu-100-[\d_]+-[\d_]+\.vmi\.zst$/)
  assert.ok(existsSync(`${second.archive}.notes`))
})

/** The firmware of Debian's ovmf, and variables of a guest. */
const CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
const hasFirmware = existsSync(CODE) || process.env.CI ? {} : { skip: 'needs ovmf' }

for (const [how, args] of [
  [
    '-drive',
    (file: string) => [
      '-drive',
      `if=pflash,unit=0,format=raw,readonly=on,file=${CODE}`,
      '-drive',
      `if=pflash,unit=1,format=raw,id=drive-efidisk0,file=${file}`,
    ],
  ],
  [
    '-blockdev',
    (file: string) => [
      ...['-machine', 'q35,pflash0=pflash0,pflash1=drive-efidisk0'],
      ...['-blockdev', `driver=file,node-name=pflash0,read-only=on,filename=${CODE}`],
      ...['-blockdev', `driver=raw,node-name=drive-efidisk0,file.driver=file,file.filename=${file}`],
    ],
  ],
] as const) {
  test(`the variables of UEFI of a running guest are archived, as Proxmox gives them to QEMU by ${how}`, {
    timeout,
    ...needs('qemu-system-x86_64', 'zstd'),
    ...hasFirmware,
  }, async (t) => {
    const host = proxmoxHost(t)
    const variables = host.image('vm-100-disk-0.raw', 540_672)
    const image = host.image('vm-100-disk-1.raw', SIZE)
    const node = JSON.stringify({ driver: 'file', filename: image, 'node-name': 'drive-scsi0' })
    const disk = ['-device', 'virtio-scsi-pci', '-blockdev', node, '-device', 'scsi-hd,drive=drive-scsi0,id=scsi0']
    const { qmp } = await startQemu(t, [...args(variables), ...disk])
    const config = host.config(
      'bios: ovmf',
      'memory: 64',
      'efidisk0: local:100/vm-100-disk-0.raw,size=528K',
      'scsi0: local:100/vm-100-disk-1.raw',
    )
    const options = { config, storages: host.storages, to: host.dump, qmp }
    await assert.rejects(back({ ...options, drives: { scsi0: image } }), {
      code: 'USAGE',
      message: /scsi0 is read from its QEMU/,
    })
    const { archive, names } = await back(options)
    assert.deepEqual(objections(archive), [])
    assert.deepEqual(names, ['drive-efidisk0', 'drive-scsi0'])
    const target = join(host.dir, 'variables')
    await restore({ from: archive, drives: { efidisk0: target } })
    assert.ok(readFileSync(target).equals(readFileSync(variables)))
  })
}
