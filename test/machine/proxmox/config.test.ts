import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { logName, parseVzdumpName, vzdumpName } from '../../../src/machine/proxmox/archive-name.ts'
import { archivedConfig } from '../../../src/machine/proxmox/archived-config.ts'
import { parseProxmoxConfig } from '../../../src/machine/proxmox/config.ts'
import { archiveName, drivesOf, keyOfArchiveName } from '../../../src/machine/proxmox/drives.ts'
import { mapLinesIn } from '../../../src/machine/proxmox/map-lines.ts'
import { notesOf } from '../../../src/machine/proxmox/notes.ts'
import { findVolume, ownerOf, parseStorages } from '../../../src/machine/proxmox/storage.ts'

describe('a config of Proxmox', () => {
  test('ends at its first section, and its last line of a key counts', () => {
    const config = parseProxmoxConfig('memory: 512\nmemory: 1024\r\n#note\nnonsense\n[PENDING]\nmemory: 1\n[a]\n')
    assert.equal(config.values.get('memory'), '1024')
    assert.deepEqual(config.sections, ['PENDING', 'a'])
    assert.deepEqual(
      config.lines.map(({ key }) => key),
      ['memory', 'memory', null, null],
    )
  })

  test('that is no text is refused', () => {
    assert.throws(() => parseProxmoxConfig(Buffer.of(0xff, 0xfe)), { code: 'USAGE', message: /not UTF-8/ })
    assert.throws(() => parseProxmoxConfig('memory: 1\0'), { code: 'USAGE', message: /control characters/ })
  })

  test('has drives, of which some are left out for the reason that Proxmox has', () => {
    const lines = [
      ...[
        'scsi0: a:vm-1-disk-0',
        'scsi1: a:vm-1-disk-1,backup=0',
        'virtio15: file=a:b,backup=yes',
        'ide2: none,media=cdrom',
      ],
      ...['sata0: a:vm-100-cloudinit,media=cdrom', 'ide0: a:1/vm-1-cloudinit.qcow2', 'efidisk0: a:x', 'tpmstate0: a:y'],
      ...['unused0: a:z', 'scsi31: a:b', 'ide4: a:b', 'virtio01: a:b', 'efidisk1: a:b'],
    ]
    const drives = (text: string[]) => drivesOf(parseProxmoxConfig(text.join('\n')))
    const of = (text: string[]) => drives(text).map(({ key, leftOut }) => [key, leftOut])
    assert.deepEqual(of(lines), [
      ['efidisk0', 'is not used: the config has no bios: ovmf'],
      ['ide0', 'is a cloud-init drive, which Proxmox makes anew'],
      ['ide2', 'is a CD-ROM'],
      ['sata0', 'is a cloud-init drive, which Proxmox makes anew'],
      ['scsi0', null],
      ['scsi1', 'has backup=0 in the config'],
      ['tpmstate0', null],
      ['virtio15', null],
    ])
    assert.equal(drives(['bios: ovmf', 'efidisk0: a:x'])[0].leftOut, null)
  })

  test('gives its drives names in an archive, and finds them by these', () => {
    for (const [key, name] of [
      ['scsi0', 'drive-scsi0'],
      ['tpmstate0', 'drive-tpmstate0-backup'],
      ['efidisk0', 'drive-efidisk0'],
    ]) {
      assert.equal(archiveName(key), name)
      assert.equal(keyOfArchiveName(name), key)
    }
    for (const none of ['drive-tpmstate0', 'drive-scsi0-backup', 'drive-scsi31', 'drive-disk', 'scsi0', 'drive-scsi00'])
      assert.equal(keyOfArchiveName(none), null, none)
  })

  test('is archived without what belongs to this host, and with a map of its drives', () => {
    const text =
      'lock: backup\nparent: a\nunused0: x\n#qmdump#map:a:b:c:d:\n#kept\nscsi0: a:b,size=1G\nscsi1: a:c,backup=1\n[a]\nx: 1\n'
    const map = [{ key: 'scsi0', drive: 'drive-scsi0', storage: 'a', format: 'qcow2' }]
    const stored = archivedConfig(parseProxmoxConfig(text), { map, leftOut: ['scsi1'] })
    assert.equal(stored, '#kept\nscsi0: a:b,size=1G\nscsi1: a:c,backup=0\n#qmdump#map:scsi0:drive-scsi0:a:qcow2:\n')
    assert.deepEqual(mapLinesIn(stored), map)
  })
})

describe('a volume of a storage of Proxmox', () => {
  const storages = parseStorages(
    [
      ...['dir: local', '\tpath /var/lib/vz', '\tcontent images', ''],
      ...['lvmthin: local-lvm', '\tthinpool data', '\tvgname pve', '', 'lvm: big', '\tvgname san-1', ''],
      ...[
        'zfspool: tank',
        '\tpool rpool/data',
        '\tsparse',
        '',
        'nfs: nas',
        '\tpath /mnt/pve/nas',
        '\tserver 10.0.0.1',
        '',
      ],
      ...['dir: moved', '\tpath /srv/', '\tcontent-dirs images=vms,backup=b', '', 'rbd: ceph', '\tpool rbd', ''],
      ...['lvm: bad', '\tvgname ../etc', ''],
    ].join('\n'),
  )

  test('has a place and a format by its name', () => {
    const places: [string, string, string][] = [
      ['local:100/vm-100-disk-0.qcow2', '/var/lib/vz/images/100/vm-100-disk-0.qcow2', 'qcow2'],
      [
        'local:9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2',
        '/var/lib/vz/images/100/vm-100-disk-0.qcow2',
        'qcow2',
      ],
      ['nas:100/vm-100-disk-0.raw', '/mnt/pve/nas/images/100/vm-100-disk-0.raw', 'raw'],
      ['moved:100/vm-100-disk-0.vmdk', '/srv/vms/100/vm-100-disk-0.vmdk', 'vmdk'],
      ['local-lvm:vm-100-disk-0', '/dev/pve/vm-100-disk-0', 'raw'],
      ['big:vm-100-disk-0.qcow2', '/dev/san-1/vm-100-disk-0.qcow2', 'qcow2'],
      ['tank:base-9000-disk-0/vm-100-disk-1', '/dev/zvol/rpool/data/vm-100-disk-1', 'raw'],
    ]
    for (const [volume, path, format] of places) {
      const found = findVolume(volume, storages, 'scsi0')
      assert.deepEqual([found.path, found.format], [path, format])
    }
  })

  test('is not guessed, and leads nowhere else', () => {
    for (const volume of [
      'ceph:vm-100-disk-0',
      'none:vm-1',
      'local:vm-100-disk-0.raw',
      'local:100/..',
      'local:../x/y',
      'local:100//x',
      'local-lvm:a b',
      'bad:vm-1-disk-0',
      '/dev/sda',
      'x',
    ])
      assert.throws(() => findVolume(volume, storages, 'scsi0'), { code: 'FAILED', hint: /--drive scsi0=PATH/ }, volume)
  })

  test('has an owner by its name', () => {
    assert.equal(ownerOf('100/vm-100-disk-0.qcow2'), 100)
    assert.equal(ownerOf('base-9000-disk-0/vm-101-disk-0'), 101)
    assert.equal(ownerOf('iso/debian.iso'), null)
    assert.equal(ownerOf('vm-100-disk-0/other'), null)
  })
})

describe('the name of an archive of Proxmox', () => {
  const time = new Date(2026, 10, 28, 21, 5, 9)

  test('has the number of the guest and the time of the host, and is read again', () => {
    const name = vzdumpName({ vmid: 100, time }, 'zstd')
    assert.equal(name, 'vzdump-qemu-100-2026_11_28-21_05_09.vma.zst')
    assert.deepEqual(parseVzdumpName(name), { vmid: 100, time, stem: 'vzdump-qemu-100-2026_11_28-21_05_09' })
    assert.equal(vzdumpName({ vmid: 100, time }, 'none'), 'vzdump-qemu-100-2026_11_28-21_05_09.vma')
    assert.throws(() => vzdumpName({ vmid: 100, time }, 'lz4'), { code: 'USAGE' })
    assert.equal(parseVzdumpName('vzdump-lxc-100-2026_11_28-21_05_09.tar.zst'), null)
  })

  test('names the log beside it', () => {
    assert.equal(logName('vzdump-qemu-100-2026_11_28-21_05_09.vma.gz'), 'vzdump-qemu-100-2026_11_28-21_05_09.log')
  })
})

describe('notes of a template', () => {
  const variables = { guestname: 'a {{vmid}} \\n $& b', node: 'pve', vmid: '100', cluster: '' }

  test('have the values of variables, whatever is in them', () => {
    assert.equal(
      notesOf('{{guestname}} on {{node}}\\n\\\\ {{vmid}} {x}', variables),
      'a {{vmid}} \\n $& b on pve\n\\ 100 {x}',
    )
  })

  test('with unknown variables or escapes are refused', () => {
    assert.throws(() => notesOf('{{name}}', variables), { code: 'USAGE', hint: /guestname/ })
    for (const wrong of ['\\t', 'a\\']) assert.throws(() => notesOf(wrong, variables), { code: 'USAGE' })
  })
})
