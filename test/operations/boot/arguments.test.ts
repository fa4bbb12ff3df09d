import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Machine, machineSchema } from '../../../src/machine/machine.ts'
import { bootArguments } from '../../../src/operations/boot/arguments.ts'

const HOSTILE = 'x\',file=/etc/shadow,id=y -drive file=/dev/sda \n"$(touch /tmp/x)`'

/** A machine in which every text is one that tries to be an option of QEMU. */
function hostile(): Machine {
  const drive = {
    drive: HOSTILE,
    target: HOSTILE,
    storage: HOSTILE,
    controller: HOSTILE,
    serial: HOSTILE,
    format: 'qcow2',
  }
  return machineSchema.parse({
    version: 1,
    from: 'libvirt',
    name: HOSTILE,
    type: HOSTILE,
    cpu: { model: HOSTILE, sockets: 1, cores: 1 << 20 },
    firmware: { kind: 'uefi', variables: '/etc/shadow' },
    tpm: { version: HOSTILE, state: '/etc/passwd' },
    disks: [
      { ...drive, bus: 'scsi' },
      { ...drive, bus: 'virtio', drive: 'second' },
    ],
    networks: [{ model: HOSTILE, mac: '52:54:00:00:00:01', bridge: HOSTILE }],
  })
}

test('nothing of a hostile description is an option, a path of this host, or a network', () => {
  const notes: string[] = []
  const args = bootArguments(hostile(), {
    ...{ accel: 'tcg', memory: 512 << 20, processors: 2, socket: '/scratch/nbd' },
    exports: [HOSTILE, 'second'].map((drive) => ({ drive, file: drive, size: 1 << 20 })),
    uefi: { firmware: { code: '/fw/code', template: '/fw/vars' }, variables: '/scratch/variables' },
    note: (text) => notes.push(text),
  })
  const blocks = args.flatMap((word, index) => (args[index - 1] === '-blockdev' ? [JSON.parse(word)] : []))
  assert.deepEqual(
    blocks.map(({ file }) => file.filename ?? file.server.path),
    ['/fw/code', '/scratch/variables', '/scratch/nbd', '/scratch/nbd'],
  )
  // The name of a drive is the name of an export of ours, inside JSON, and nowhere else.
  assert.equal(args.filter((word) => word.includes('/etc/')).length, 1)
  assert.ok(args.filter((word) => word.includes('/etc/')).every((word) => JSON.parse(word).file.export === HOSTILE))
  for (const option of ['-nodefaults', '-no-user-config', '-sandbox']) assert.ok(args.includes(option))
  assert.equal(args[args.indexOf('-nic') + 1], 'none')
  assert.ok(!args.some((word) => /netdev|hostfwd|vfio|virtfs|9p|passthrough/.test(word.replace(HOSTILE, ''))))
  assert.equal(args[args.indexOf('-smp') + 1], '2')
})
