import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { discover, type Inventory } from '../../../../src/live/qemu/inventory/discovery.ts'
import { describeMachine, machineConfig, type QemuMachine } from '../../../../src/live/qemu/inventory/machine.ts'
import { machineSchema } from '../../../../src/machine/machine.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { startQemu, startStorageDaemon } from '../../../support/qemu.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs } from '../../../support/tools.ts'
import { fileDrive, legacyDrive, rawImages } from '../images.ts'

const limits = { timeout: 60_000, ...needs('qemu-system-x86_64', 'qemu-img') }

async function withMachine<T>(
  t: { after(hook: () => void | Promise<void>): void },
  args: readonly string[],
  look: (client: QmpClient) => Promise<T>,
): Promise<T> {
  const { qmp } = await startQemu(t, args)
  const client = await QmpClient.connect(qmp)
  try {
    return await look(client)
  } finally {
    client.close()
  }
}

const byName = ({ drives }: Inventory) => Object.fromEntries(drives.map((drive) => [drive.name, drive]))
const reasons = ({ leftOut }: Inventory) => leftOut.map(({ name, reason }) => `${name} ${reason}`)

describe('a machine with -blockdev and ids', limits, () => {
  let inventory: Inventory
  let description: QemuMachine

  before(async () => {
    const t = { after }
    const dir = tmpDir(t)
    const path = rawImages(dir, ['virtio', 'sata', 'nvme', 'space', 'usb', 'shared', 'fixed', 'cd'])
    const base = join(dir, 'base.qcow2')
    const over = join(dir, 'over.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', base, '3M'])
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', over])
    const args = [
      ...['-machine', 'q35', '-smp', '2', '-name', 'vm1', '-uuid', '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001'],
      ...['-object', 'iothread,id=io1', '-object', 'throttle-group,id=tg,x-iops-total=100'],
      ...fileDrive('fv', path.virtio, 'virtio-blk-pci,id=virtio0,drive=fv'),
      ...['-device', 'virtio-scsi-pci,id=scsihw0,iothread=io1'],
      ...['-blockdev', `driver=file,node-name=fs,filename=${over}`, '-blockdev', 'driver=qcow2,node-name=q0,file=fs'],
      ...['-device', 'scsi-hd,id=scsi0,bus=scsihw0.0,drive=q0'],
      ...['-device', 'scsi-cd,id=scsi2,bus=scsihw0.0'],
      ...['-blockdev', `driver=file,node-name=fa,filename=${path.sata}`],
      ...['-blockdev', 'driver=raw,node-name=ra,file=fa'],
      ...['-blockdev', 'driver=throttle,node-name=ta,file=ra,throttle-group=tg'],
      ...['-device', 'ide-hd,id=sata0,bus=ide.0,drive=ta', '-device', 'ide-cd,id=sata1,bus=ide.1'],
      ...fileDrive('fc', path.cd, 'ide-cd,id=sata2,bus=ide.2,drive=fc', ',read-only=on'),
      ...fileDrive('fn', path.nvme, 'nvme,id=nvme0,serial=n0,drive=fn'),
      ...['-device', 'nvme,id=nvme1,serial=n1'],
      ...fileDrive('fn1', path.space, 'nvme-ns,id=ns1,bus=nvme1,drive=fn1'),
      ...['-device', 'qemu-xhci'],
      ...fileDrive('fu', path.usb, 'usb-storage,id=usb0,drive=fu'),
      ...fileDrive('fw', path.shared, 'virtio-blk-pci,id=shared0,drive=fw,share-rw=on,iothread=io1'),
      ...fileDrive('ff', path.fixed, 'virtio-blk-pci,id=fixed0,drive=ff', ',read-only=on'),
      ...['-netdev', 'hubport,id=net0,hubid=0', '-device', 'virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:12:34:56'],
    ]
    await withMachine(t, args, async (client) => {
      inventory = await discover(client)
      description = await describeMachine(client, inventory.drives)
    })
  })

  test('has its drives under names like those of Proxmox', () => {
    assert.deepEqual(
      inventory.drives.map(({ name }) => name),
      ['ns1', 'nvme0', 'sata0', 'scsi0', 'shared0', 'usb0', 'virtio0'].map((id) => `drive-${id}`),
    )
  })

  test('tells of each which device it is, and where it can be given another node', () => {
    const { 'drive-virtio0': virtio, 'drive-usb0': usb, 'drive-nvme0': nvme, 'drive-ns1': space } = byName(inventory)
    assert.equal(virtio.qomPath, '/machine/peripheral/virtio0/virtio-backend')
    assert.equal(virtio.type, 'virtio-blk-pci')
    assert.deepEqual([virtio.id, virtio.node, virtio.backend], ['virtio0', 'fv', ''])
    assert.equal(usb.type, 'usb-storage')
    assert.match(usb.qomPath, /^\/machine\/peripheral\/usb0\/usb0\.0\/legacy\[0\]$/)
    assert.deepEqual([nvme.type, nvme.qomPath], ['nvme', '/machine/peripheral/nvme0'])
    assert.deepEqual([space.type, space.qomPath], ['nvme-ns', '/machine/peripheral/ns1'])
    for (const { media, readOnly, size } of [virtio, usb, nvme, space])
      assert.deepEqual([media, readOnly, size], ['disk', false, 1 << 20])
  })

  test('tells the format below filters, and the size of the image rather than of its file', () => {
    const { 'drive-scsi0': scsi, 'drive-sata0': sata } = byName(inventory)
    assert.deepEqual([scsi.driver, scsi.format, scsi.size], ['qcow2', 'qcow2', 3 << 20])
    assert.deepEqual([sata.driver, sata.format, sata.node], ['throttle', 'raw', 'ta'])
  })

  test('tells who does the I/O, and whether others may write', () => {
    const {
      'drive-scsi0': scsi,
      'drive-shared0': shared,
      'drive-virtio0': virtio,
      'drive-nvme0': nvme,
    } = byName(inventory)
    assert.equal(scsi.iothread, 'io1', "its controller's")
    assert.deepEqual([shared.iothread, shared.shared], ['io1', true])
    assert.deepEqual([virtio.iothread, virtio.shared], [null, false])
    assert.equal(nvme.iothread, null)
  })

  test('has CD-ROMs and read-only drives left out, with the reason', () => {
    assert.deepEqual(reasons(inventory), [
      'drive-fixed0 is read-only',
      'drive-sata1 is an empty CD-ROM drive',
      'drive-sata2 is a CD-ROM',
      'drive-scsi2 is an empty CD-ROM drive',
    ])
    const choosable = inventory.leftOut.filter(({ drive }) => drive !== null).map(({ name }) => name)
    assert.deepEqual(choosable, ['drive-fixed0', 'drive-sata2'])
  })

  test('is described for whoever restores it', () => {
    assert.deepEqual(machineSchema.parse(description), description)
    assert.equal(description.name, 'vm1')
    assert.equal(description.uuid, '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001')
    assert.match(description.type!, /^pc-q35-\d+\.\d+$/)
    assert.deepEqual([description.arch, description.status, description.kvm], ['x86_64', 'prelaunch', false])
    assert.deepEqual([description.cpu!.model, description.cpu!.count], ['qemu64', 2])
    assert.equal(description.memory, 64 << 20)
    assert.deepEqual(description.firmware, { kind: 'bios' })
    assert.deepEqual(description.iothreads, ['io1'])
    assert.deepEqual(
      description.disks.map(({ drive, bus, unit }) => [drive, bus, unit]),
      [
        ['drive-nvme0', 'nvme', 0],
        ['drive-ns1', 'nvme', 1],
        ['drive-sata0', 'sata', 0],
        ['drive-scsi0', 'scsi', 0],
        ['drive-virtio0', 'virtio', 0],
        ['drive-shared0', 'virtio', 1],
        ['drive-usb0', 'usb', 0],
      ],
    )
    assert.deepEqual(
      description.disks.find(({ drive }) => drive === 'drive-scsi0'),
      {
        ...{ drive: 'drive-scsi0', bus: 'scsi', unit: 0, format: 'qcow2', controller: 'virtio-scsi-pci' },
        ...{ size: 3 << 20, device: 'scsi-hd', iothread: 'io1' },
      },
    )
    assert.equal(description.disks.find(({ drive }) => drive === 'drive-nvme0')!.serial, 'n0')
    assert.deepEqual(description.networks, [{ model: 'virtio', mac: '52:54:00:12:34:56' }])
    const nic = description.devices.find(({ id }) => id === 'nic0')!
    assert.deepEqual([nic.type, nic.mac, nic.bus], ['virtio-net-pci', '52:54:00:12:34:56', 'pcie.0'])
    assert.match(nic.address!, /^[0-9a-f]{2}\.[0-7]$/)
    assert.ok(description.devices.some(({ id, type }) => id === undefined && type === 'qemu-xhci'))
  })

  test('is described in a file for the archive, without paths of the host', () => {
    const { name, data } = machineConfig(description)
    assert.equal(name, 'guest.json')
    const text = Buffer.from(data).toString()
    assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(description)))
    assert.doesNotMatch(text, /over\.qcow2|\.raw/)
  })
})

describe('a machine with -drive and without ids', limits, () => {
  let inventory: Inventory
  let description: QemuMachine

  before(async () => {
    const t = { after }
    const names = ['virtio', 'proxmox', 'ide', 'anonymous', 'scsi', 'usb', 'code', 'vars', 'floppy', 'spare'] as const
    const path = rawImages(tmpDir(t), names)
    const args = [
      ...['-machine', 'pc', '-nic', 'hubport,hubid=0,model=e1000,mac=52:54:00:AA:BB:CC'],
      ...['-drive', `if=virtio,file=${path.virtio},format=raw`],
      ...legacyDrive('drive-virtio3', path.proxmox, 'virtio-blk-pci,drive=drive-virtio3', ',iops=100'),
      ...['-drive', `if=ide,file=${path.ide},format=raw`, '-drive', 'if=ide,media=cdrom'],
      ...fileDrive('na', path.anonymous, 'virtio-blk-pci,drive=na'),
      ...['-device', 'virtio-scsi-pci'],
      ...fileDrive('ns', path.scsi, 'scsi-hd,drive=ns'),
      ...['-device', 'piix3-usb-uhci'],
      ...legacyDrive('stick', path.usb, 'usb-storage,drive=stick'),
      ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${path.code}`],
      ...['-drive', `if=pflash,unit=1,format=raw,id=drive-efidisk0,file=${path.vars}`],
      ...legacyDrive('disk-a', path.floppy, 'floppy,drive=disk-a'),
      ...['-drive', `if=none,id=spare,file=${path.spare},format=raw`],
    ]
    await withMachine(t, args, async (client) => {
      inventory = await discover(client)
      description = await describeMachine(client, inventory.drives)
    })
  })

  test('is described: its firmware with the drive of the variables, each disk on its bus, the card of -nic', () => {
    assert.deepEqual(machineSchema.parse(description), description)
    assert.deepEqual(description.firmware, { kind: 'uefi', secureBoot: false, variables: 'drive-efidisk0' })
    assert.deepEqual(
      description.disks.map(({ drive, bus }) => `${drive} ${bus}`).sort(),
      ['drive-ide0-hd0 ide', 'drive-na virtio', 'drive-ns scsi', 'drive-stick usb'].concat([
        'drive-virtio0 virtio',
        'drive-virtio3 virtio',
      ]),
    )
    assert.deepEqual(description.networks, [{ model: 'e1000', mac: '52:54:00:aa:bb:cc' }])
  })

  test('has its drives under the names that QEMU knows them by', () => {
    assert.deepEqual(
      inventory.drives.map(({ name, id, type }) => [name, id, type]),
      [
        ['drive-efidisk0', null, 'cfi.pflash01'],
        ['drive-ide0-hd0', null, 'ide-hd'],
        ['drive-na', null, 'virtio-blk-pci'],
        ['drive-ns', null, 'scsi-hd'],
        ['drive-stick', null, 'usb-storage'],
        ['drive-virtio0', null, 'virtio-blk-pci'],
        ['drive-virtio3', null, 'virtio-blk-pci'],
      ],
    )
  })

  test('has their QOM paths among the anonymous, and their throttling', () => {
    const { 'drive-na': anonymous, 'drive-virtio3': throttled, 'drive-virtio0': plain } = byName(inventory)
    assert.match(anonymous.qomPath, /^\/machine\/peripheral-anon\/device\[\d+\]\/virtio-backend$/)
    assert.equal(throttled.throttleGroup, 'drive-virtio3')
    assert.equal(plain.throttleGroup, null)
    assert.match(plain.node, /^#block/)
  })

  test('has firmware, floppies, and what no device uses left out', () => {
    assert.deepEqual(reasons(inventory), [
      'drive-disk-a is a floppy disk',
      'drive-ide0-cd1 is an empty CD-ROM drive',
      'drive-pflash0 is read-only',
      'drive-spare belongs to no device of the guest',
    ])
  })

  test('gives QOM paths where QEMU takes another node for the drive', limits, async (t) => {
    const path = rawImages(tmpDir(t), ['one', 'two'])
    const args = [
      ...fileDrive('one', path.one, 'virtio-blk-pci,drive=one'),
      ...['-blockdev', `driver=file,node-name=two,filename=${path.two}`],
    ]
    await withMachine(t, args, async (client) => {
      const [{ qomPath: path }] = (await discover(client)).drives
      await client.execute('qom-set', { path, property: 'drive', value: 'two' })
      assert.equal((await discover(client)).drives[0].node, 'two')
    })
  })
})

describe('discovery', () => {
  test('of a machine without drives finds none', limits, async (t) => {
    assert.deepEqual(await withMachine(t, [], discover), { drives: [], leftOut: [] })
  })

  test('of a storage daemon finds none: it has no guest', {
    timeout: 60_000,
    ...needs('qemu-storage-daemon'),
  }, async (t) => {
    const { qmp } = await startStorageDaemon(t, ['--blockdev', 'driver=null-co,node-name=n,size=65536'])
    const client = await QmpClient.connect(qmp)
    t.after(() => client.close())
    assert.deepEqual(await discover(client), { drives: [], leftOut: [] })
  })
})
