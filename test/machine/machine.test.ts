import assert from 'node:assert/strict'
import { test } from 'node:test'
import { machineSchema } from '../../src/machine/machine.ts'

const minimal = { version: 1, from: 'qemu', disks: [{ drive: 'drive-scsi0', bus: 'scsi' }] }

test('a guest of which only the disks are known is described', () => {
  assert.deepEqual(machineSchema.parse(minimal), minimal)
})

test('what no guest has is refused: a MAC address that is none, memory of no bytes, a disk without a drive', () => {
  const hostile = [
    { networks: [{ model: 'virtio', mac: '52:54:00:12:34:56,script=/tmp/x' }] },
    { memory: 0 },
    { disks: [{ bus: 'scsi' }] },
    { version: 2 },
  ]
  for (const part of hostile) assert.ok(!machineSchema.safeParse({ ...minimal, ...part }).success, JSON.stringify(part))
})
