import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planForProxmox } from '../../src/operations/proxmox/for-proxmox.ts'
import { objectionsToConfig } from '../support/proxmox/qmrestore.ts'
import { seed, seeded } from '../support/random.ts'

const ROUNDS = 3000

const LINES = [
  ...[
    'name: web01',
    'memory: 512',
    'bios: ovmf',
    'bios: seabios',
    'boot: order=scsi0',
    '#a note',
    '',
    'nonsense',
    '[snap]',
    '[PENDING]',
    'lock: backup',
  ],
  ...[
    'scsi0: local:vm-1-disk-0,size=1G',
    'scsi0: /dev/sda',
    'scsi1: file=/etc/shadow,backup=1',
    'virtio0: json:{"driver":"file"}',
    'efidisk0: /x',
    'tpmstate0: a:b',
  ],
  ...[
    'ide2: none,media=cdrom',
    'ide2: /dev/cdrom,media=cdrom',
    'ide0: cdrom',
    'ide1: local:vm-7-cloudinit,media=cdrom',
    'unused0: a:b',
    'parent: x',
  ],
  ...[
    'args: -device x',
    'hookscript: local:snippets/x',
    'hostpci0: 01:00',
    'usb0: host=1:2',
    'serial0: /dev/ttyS0',
    'rng0: source=/dev/hwrng',
    'virtiofs0: x',
  ],
  ...[
    '#qmdump#map:scsi0:drive-scsi0:local:raw:',
    '#qmdump#map:scsi0:drive-other:../x:exe:',
    '#qmdump#map:x:y:z::',
    '#qmdump#map:efidisk0:drive-scsi1::qcow2:',
    '#qmdump#',
    '#vzdump#x',
  ],
]
const NAMES = [
  'drive-scsi0',
  'drive-scsi1',
  'drive-other',
  'drive-efidisk0',
  'drive-tpmstate0-backup',
  'a:b=c d',
  '__proto__',
  'drive-pflash1',
  'drive-ide2',
  'constructor',
]
/** What a config that was reduced keeps as it was, good or bad, for Proxmox itself to judge. */
const OF_VALUES = /^(the name|the memory|cores|sockets|the uuid|net\d+|two lines for|it boots from)/

test(`whatever config and drives an archive has, that for Proxmox maps each drive once and names nothing of a host (seed ${seed})`, () => {
  const random = seeded(seed)
  const some = <T>(values: readonly T[], most: number): T[] =>
    Array.from({ length: Math.floor(random() * most) }, () => values[Math.floor(random() * values.length)])
  for (let round = 0; round < ROUNDS; round++) {
    const drives = [...new Set(some(NAMES, 8))].map((name, index) => ({
      id: index + 1,
      name,
      size: 512 * Math.ceil(random() * 4096),
    }))
    const text = some(LINES, 20).join(random() < 0.2 ? '\r\n' : '\n')
    const configs = random() < 0.1 ? [] : [{ name: 'qemu-server.conf', data: Buffer.from(text) }]
    const { config, names } = planForProxmox({ drives, configs }, 100)
    const made = Buffer.from(config.data).toString()
    const devices = new Map(drives.map(({ name, size }) => [names.get(name)!, size]))
    assert.equal(devices.size, drives.length, text)
    const objections = objectionsToConfig(made, devices).filter((objection) => !OF_VALUES.test(objection))
    assert.deepEqual(objections, [], `${text}\n--- became ---\n${made}`)
    assert.doesNotMatch(made, /\/dev|\/etc|json:|args|hookscript|hostpci|usb0|virtiofs/, text)
  }
})
