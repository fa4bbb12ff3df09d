import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { type RepackOptions, repack } from '../../src/operations/repack.ts'
import { restore } from '../../src/operations/restore.ts'
import { goldenPath, needsGolden } from '../support/golden.ts'
import { writeImage } from '../support/image.ts'
import { inspect, objections } from '../support/proxmox/qmrestore.ts'
import { startQemu } from '../support/qemu.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const SIZE = 3 << 20
const VARIABLES = 540_672

interface Made {
  archive: string
  config: string
  warnings: string[]
}

/** An archive of images of these sizes, with these config files. */
async function archived(
  t: TestContext,
  drives: Record<string, number>,
  configs: Record<string, string>,
): Promise<string> {
  const dir = tmpDir(t)
  const place = (name: string) => join(dir, encodeURIComponent(name))
  for (const [name, size] of Object.entries(drives)) writeImage(place(name), size, { noise: 70_000, tail: 1000 })
  for (const [name, text] of Object.entries(configs)) writeFileSync(place(name), text)
  const placed = (names: object) => Object.fromEntries(Object.keys(names).map((name) => [name, place(name)]))
  const to = join(dir, 'x.vma')
  await backup({ drives: placed(drives), configs: placed(configs), to })
  return to
}

async function forProxmox(t: TestContext, from: string, options: Partial<RepackOptions> = {}): Promise<Made> {
  const dump = join(tmpDir(t), 'dump')
  mkdirSync(dump)
  const warnings: string[] = []
  await repack({ from, to: `${dump}/`, forProxmox: 100, warn: (line) => warnings.push(line), ...options })
  const [name] = readdirSync(dump).filter((file) => /\.vma(\.\w+)?$/.test(file) && !file.endsWith('.notes'))
  const archive = join(dump, name)
  assert.deepEqual(objections(archive), [])
  return { archive, config: inspect(archive).configs.get('qemu-server.conf')!, warnings }
}

const GUEST = {
  version: 1,
  from: 'libvirt',
  name: 'web 01',
  uuid: '7c2a3f14-3c1e-4a43-9c7b-0c5d7f0a1b2c',
  type: 'pc-q35-7.2',
  arch: 'x86_64',
  memory: 2 ** 31,
  cpu: { model: 'host-passthrough', sockets: 2, cores: 2, threads: 2 },
  firmware: { kind: 'uefi', secureBoot: false, variables: 'drive-pflash1' },
  agent: true,
  disks: [
    { drive: 'drive-vda', bus: 'virtio', target: 'vda', format: 'qcow2', bootOrder: 2, serial: 'root-disk' },
    { drive: 'drive-sda', bus: 'scsi', unit: 3, controller: 'virtio-scsi', format: 'raw' },
    { drive: 'drive-nvme', bus: 'nvme', format: 'raw' },
  ],
  networks: [
    { model: 'virtio-net-pci', mac: '52:54:00:12:34:56', bootOrder: 1 },
    { model: 'ne2k', mac: '52:54:00:12:34:57' },
  ],
}

test('a guest of libvirt with UEFI becomes one of Proxmox', { timeout, ...needs('zstd') }, async (t) => {
  const drives = { 'drive-vda': SIZE, 'drive-sda': SIZE + 512, 'drive-nvme': SIZE, 'drive-pflash1': VARIABLES }
  const from = await archived(t, drives, { 'guest.json': JSON.stringify(GUEST), 'domain.xml': '<domain/>' })
  const { archive, config, warnings } = await forProxmox(t, from)
  assert.deepEqual(config.trimEnd().split('\n'), [
    'agent: 1',
    'bios: ovmf',
    'boot: order=net0;virtio0',
    'cores: 4',
    'cpu: host',
    'efidisk0: local:100/vm-100-disk-3.raw,efitype=4m,size=528K',
    'machine: q35',
    'memory: 2048',
    'name: web-01',
    'net0: virtio=52:54:00:12:34:56,bridge=vmbr0',
    'net1: e1000=52:54:00:12:34:57,bridge=vmbr0',
    'ostype: other',
    'scsi0: local:100/vm-100-disk-2.raw,size=3M',
    'scsi3: local:100/vm-100-disk-1.raw,size=3146240',
    'scsihw: virtio-scsi-pci',
    'smbios1: uuid=7c2a3f14-3c1e-4a43-9c7b-0c5d7f0a1b2c',
    'sockets: 2',
    'virtio0: local:100/vm-100-disk-0.raw,serial=root-disk,size=3M',
    '#qmdump#map:virtio0:drive-virtio0::qcow2:',
    '#qmdump#map:scsi3:drive-scsi3::raw:',
    '#qmdump#map:scsi0:drive-scsi0::raw:',
    '#qmdump#map:efidisk0:drive-efidisk0::raw:',
  ])
  assert.equal(readFileSync(`${archive}.notes`, 'utf8'), 'web-01')
  assert.match(warnings.join('\n'), /drive-nvme is a disk on nvme, and becomes scsi0/)
  assert.match(warnings.join('\n'), /network card of the model ne2k becomes e1000/)
  const [before, after] = [join(tmpDir(t), 'before'), join(tmpDir(t), 'after')]
  await restore({ from, into: before })
  await restore({ from: archive, into: after, format: 'raw' })
  for (const [old, name] of [
    ['vda', 'virtio0'],
    ['sda', 'scsi3'],
    ['nvme', 'scsi0'],
    ['pflash1', 'efidisk0'],
  ]) {
    const [a, b] = [
      readFileSync(join(before, `disk-drive-${old}.raw`)),
      readFileSync(join(after, `disk-drive-${name}.raw`)),
    ]
    assert.ok(a.equals(b), name)
  }
})

test('the name of the archive has the point in time of the backup, not the time of now', {
  timeout,
  ...needs('zstd'),
}, async (t) => {
  const from = await archived(t, { 'drive-scsi0': SIZE }, {})
  const ctime = Math.floor(new Date(2025, 4, 6, 7, 8, 9).getTime() / 1000)
  const { archive, warnings } = await forProxmox(t, from, { ctime, compress: 'gzip', notes: '{{vmid}}' })
  assert.equal(basename(archive), 'vzdump-qemu-100-2025_05_06-07_08_09.vma.gz')
  assert.equal(readFileSync(`${archive}.notes`, 'utf8'), '100')
  assert.match(warnings.join('\n'), /the archive does not describe its guest/)
  assert.match(warnings.join('\n'), /the memory is not known: 2048 MiB/)
})

test('a running guest of a stock QEMU becomes one of Proxmox', {
  timeout,
  ...needs('qemu-system-x86_64', 'zstd'),
}, async (t) => {
  const dir = tmpDir(t)
  const images = ['a', 'b'].map((name) => join(dir, name))
  for (const image of images) writeImage(image, SIZE, { noise: 70_000 })
  const drive = (image: string, id: string, device: string) => {
    const node = JSON.stringify({ driver: 'file', filename: image, 'node-name': `node-${id}` })
    return ['-blockdev', node, '-device', `${device},drive=node-${id},id=${id}`]
  }
  const { qmp } = await startQemu(t, [
    ...['-name', 'plain.example.org', '-smp', '2', '-uuid', GUEST.uuid],
    ...drive(images[0], 'root', 'virtio-blk-pci'),
    ...['-device', 'ahci,id=ahci0'],
    ...drive(images[1], 'data', 'ide-hd,bus=ahci0.0'),
    ...['-nic', 'user,model=e1000,mac=52:54:00:aa:bb:cc'],
  ])
  const from = join(dir, 'x.vma.zst')
  await backupGuest({ qmp, to: from })
  const { config } = await forProxmox(t, from)
  for (const line of [
    'name: plain.example.org',
    'memory: 64',
    /^net0: e1000=52:54:00:AA:BB:CC,bridge=vmbr0$/m,
    /^virtio0: /m,
    /^(sata|ide)0: /m,
    /^smbios1: uuid=7c2a3f14/m,
  ])
    assert.match(config, typeof line === 'string' ? new RegExp(`^${line}$`, 'm') : line)
})

test('an archive of vzdump stays what it is, for another number', { timeout, ...needsGolden }, async (t) => {
  const { config } = await forProxmox(t, goldenPath('pve-like'), { forProxmox: 123, spool: tmpDir(t) })
  assert.match(config, /^name: golden$/m)
  assert.match(config, /^#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:$/m)
})

describe('what an archive of somebody else has in its config', () => {
  test('is reduced to what is no part of a host, and each line that goes is told', {
    timeout,
    ...needs('zstd'),
  }, async (t) => {
    const bad = [
      'args: -chardev file,path=/etc/passwd,id=x',
      'hookscript: local:snippets/x.sh',
      'hostpci0: 0000:01:00.0',
      'usb0: host=1234:5678',
      'serial0: /dev/ttyS0',
      'parallel0: /dev/parport0',
      'scsi1: /dev/sda,size=1G',
      'ide0: /etc/shadow,media=cdrom',
      'ide1: cdrom,media=cdrom',
      'virtiofs0: root',
      'rng0: source=/dev/hwrng',
      'ivshmem: size=32',
      'cicustom: user=local:snippets/x',
    ]
    const own = [
      'name: web01',
      'memory: 512',
      'scsi0: /dev/sdb,size=3M',
      'scsi7: other:vm-7-disk-0',
      'ide2: none,media=cdrom',
      'serial1: socket',
    ]
    const text = [
      ...own,
      ...bad,
      'lock: backup',
      'nonsense',
      '#qmdump#map:scsi9:drive-scsi0:../x:qcow2:',
      '[s]',
      'memory: 1',
    ].join('\n')
    const from = await archived(t, { 'drive-scsi0': SIZE, 'drive-other': SIZE }, { 'qemu-server.conf': text })
    const { config, warnings } = await forProxmox(t, from)
    for (const line of bad) {
      assert.ok(!config.includes(line.split(':')[0] === 'scsi1' ? '/dev/sda' : line), line)
      assert.ok(
        warnings.some((warning) => warning.includes(line)),
        line,
      )
    }
    assert.doesNotMatch(config, /\/dev|\/etc|\.\.|qcow2:\n.*drive-other/)
    assert.match(config, /^memory: 512$/m)
    assert.match(config, /^serial1: socket$/m)
  })

  test('and in its guest.json can be anything', { timeout: 240_000, ...needs('zstd') }, async (t) => {
    const random = seeded(seed)
    const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]
    const texts = [
      '',
      'a\nargs: x',
      'web01,script=/x',
      '../../x',
      'ö'.repeat(120),
      ' -x. ',
      '\u0000',
      'scsi0: /dev/sda',
      'drive-scsi0',
      'drive-other',
      'host',
      'q35',
    ]
    const text = () => pick(texts)
    const number = () => pick([0, 1, -1, 7, 1 << 20, 1e18, 2.5])
    const from = (guest: unknown) =>
      archived(
        t,
        { 'drive-scsi0': SIZE, 'drive-other': 65_536, 'drive-pflash1': 1000 },
        { 'guest.json': typeof guest === 'string' ? guest : JSON.stringify(guest) },
      )
    for (const guest of ['', '[]', '{', 'null']) await forProxmox(t, await from(guest))
    for (let round = 0; round < 12; round++) {
      const disk = () => ({
        drive: text() || 'x',
        bus: pick(['ide', 'sata', 'scsi', 'virtio', 'nvme', 'floppy']),
        unit: Math.abs(Math.floor(number()) % 1000),
        serial: text(),
        controller: text() || 'x',
        readOnly: random() < 0.5,
        bootOrder: 1,
        format: 'x:y',
      })
      const guest = {
        ...{
          version: 1,
          from: 'qemu',
          name: text() || 'x',
          type: text() || 'pc',
          memory: 1 + Math.abs(Math.floor(number())),
        },
        cpu: {
          model: text() || 'x',
          sockets: Math.floor(random() * 9),
          cores: Math.floor(random() * 99),
          count: Math.floor(random() * 9),
        },
        firmware: { kind: pick(['bios', 'uefi']), variables: text() || 'x' },
        tpm: { version: text() || 'x', state: text() || 'x' },
        disks: Array.from({ length: Math.floor(random() * 5) }, disk),
        networks: Array.from({ length: Math.floor(random() * 40) }, () => ({
          model: text() || 'x',
          mac: '53:54:00:00:00:01',
          bridge: text() || 'x',
        })),
      }
      await forProxmox(t, await from(guest))
    }
  })
})

test('a chain of archives becomes one for Proxmox', { timeout, ...needs('zstd') }, async (t) => {
  const dir = tmpDir(t)
  const image = join(dir, 'image')
  writeImage(image, SIZE, { noise: 70_000 })
  writeFileSync(
    join(dir, 'guest.json'),
    JSON.stringify({ ...GUEST, firmware: { kind: 'bios' }, disks: [{ drive: 'drive-root', bus: 'sata' }] }),
  )
  const [full, last] = ['full.vma.zst', 'last.vmi.zst'].map((name) => join(dir, name))
  const what = { drives: { 'drive-root': image }, configs: { 'guest.json': join(dir, 'guest.json') } }
  await backup({ ...what, to: full })
  writeImage(image, SIZE, { noise: 90_000 })
  await backup({ ...what, to: last, since: full })
  const { archive, config } = await forProxmox(t, last)
  assert.match(config, /^#qmdump#map:sata0:drive-sata0::raw:$/m)
  const into = join(dir, 'restored')
  await restore({ from: archive, into })
  assert.ok(readFileSync(join(into, 'disk-drive-sata0.raw')).equals(readFileSync(image)))
})

test('what cannot become a guest of Proxmox is refused by one clear line', async (t) => {
  const from = await archived(
    t,
    { 'drive-scsi0': SIZE },
    { 'guest.json': JSON.stringify({ ...GUEST, arch: 's390x', firmware: undefined, disks: [] }) },
  )
  const to = `${tmpDir(t)}/`
  await assert.rejects(repack({ from, to, forProxmox: 100 }), {
    code: 'FAILED',
    message: /processors of the kind s390x/,
  })
  await assert.rejects(repack({ from, to, forProxmox: 5 }), { code: 'USAGE', message: /5 is no number of a guest/ })
  const plain = await archived(t, { 'drive-scsi0': SIZE }, {})
  await assert.rejects(repack({ from: plain, to, forProxmox: 100, compress: 'lz4' }), { code: 'USAGE', message: /lz4/ })
  await assert.rejects(repack({ from: '-', to, forProxmox: 100 }), { code: 'USAGE', message: /can be read twice/ })
  assert.deepEqual(readdirSync(to), [])
})
