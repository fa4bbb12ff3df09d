import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { type Machine, machineSchema } from '../../../src/machine/machine.ts'
import type { ScriptImage } from '../../../src/machine/qemu/disks.ts'
import { qemuScript } from '../../../src/machine/qemu/script.ts'
import { tmpDir } from '../../support/tmp.ts'

const machineOf = (more: Partial<Machine>): Machine =>
  machineSchema.parse({ version: 1, from: 'qemu', disks: [], ...more })

/** The arguments that QEMU would get, by running the script with another program in its place. */
function argumentsOf(t: TestContext, machine: Machine, images: readonly ScriptImage[] = [], files: string[] = []) {
  const dir = tmpDir(t)
  const { text, notes } = qemuScript(machine, images)
  const qemu = join(dir, 'qemu')
  writeFileSync(qemu, '#!/bin/sh\nprintf "%s\\0" "$@"\n', { mode: 0o755 })
  writeFileSync(join(dir, 'run.sh'), text, { mode: 0o755 })
  const code = join(dir, 'code')
  writeFileSync(code, 'x')
  for (const file of files) writeFileSync(join(dir, file), 'variables'.repeat(100_000))
  const output = execFileSync(join(dir, 'run.sh'), { env: { PATH: process.env.PATH, QEMU: qemu, UEFI_CODE: code } })
  return { args: output.toString().split('\0').slice(0, -1), notes, there: readdirSync(dir).sort(), text }
}

const devices = (args: readonly string[]) =>
  args.flatMap((arg, index) => (args[index - 1] === '-device' && arg.startsWith('{') ? [JSON.parse(arg)] : []))

describe('run.sh', () => {
  test('gives QEMU the machine as it was', (t) => {
    const machine = machineOf({
      ...{ name: 'web', uuid: '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001', type: 'pc-q35-9.2+pve1', arch: 'x86_64' },
      ...{ memory: 2 ** 31, cpu: { model: 'host', count: 2, sockets: 1, cores: 4 } },
      disks: [
        { drive: 'drive-scsi1', bus: 'scsi', unit: 1, controller: 'megasas', serial: 'A 1' },
        { drive: 'drive-scsi0', bus: 'scsi', unit: 0, controller: 'megasas', bootOrder: 0 },
        ...[0, 1, 2, 3, 4, 5, 6].map((unit) => ({ drive: `drive-sata${unit}`, bus: 'sata' as const, unit })),
        { drive: 'drive-usb0', bus: 'usb' },
      ],
      networks: [{ model: 'virtio', mac: '52:54:00:AA:00:01' }],
    })
    const images = machine.disks.map(({ drive }) => ({ drive, file: `disk-${drive}.raw`, size: 1 }))
    const { args, notes } = argumentsOf(t, machine, images)
    const after = (option: string) => args[args.indexOf(option) + 1]
    assert.deepEqual(notes, [])
    assert.deepEqual(['-name', '-machine', '-cpu', '-smp', '-m', '-uuid'].map(after), [
      ...['guest=web', 'pc-q35-9.2,accel=kvm:tcg', 'max', '2,maxcpus=4,sockets=1,cores=4,threads=1', '2048M'],
      '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001',
    ])
    assert.deepEqual(
      devices(args).map(({ driver, bus, serial, bootindex, mac }) =>
        [driver, bus, serial, bootindex, mac].filter((value) => value !== undefined).join(' '),
      ),
      [
        ...['megasas', 'qemu-xhci', 'ahci', 'scsi-hd megasas.0 0', 'ide-hd ide.0', 'usb-storage xhci.0'],
        ...['scsi-hd megasas.0 A 1', 'ide-hd ide.1', 'ide-hd ide.2', 'ide-hd ide.3', 'ide-hd ide.4', 'ide-hd ide.5'],
        ...['ide-hd ahci0.0', 'virtio-net-pci 52:54:00:aa:00:01'],
      ],
    )
  })

  test('lets nothing of a hostile archive reach the shell or an option of QEMU', (t) => {
    const evil = `x'; touch pwned; '$(touch pwned)\`touch pwned\`"\n,file=/etc/shadow,-S`
    const machine = machineOf({
      ...{ name: evil, type: evil, arch: evil, cpu: { model: evil, count: 1 << 20 } },
      memory: Number.MAX_SAFE_INTEGER,
      firmware: { kind: 'uefi', secureBoot: true, variables: evil },
      tpm: { version: evil },
      disks: [
        { drive: evil, bus: 'scsi', controller: evil, serial: evil },
        { drive: 'absent', bus: 'virtio' },
        { drive: 'floppy', bus: 'floppy' },
        { drive: 'unknown', bus: 'other' },
      ],
      networks: [
        { model: evil, mac: '52:54:00:00:00:01' },
        { model: 'constructor', mac: '52:54:00:00:00:02' },
      ],
    })
    const file = `disk-${evil.replaceAll('/', '_').replace('\n', '')}.raw`
    const images = [
      { drive: evil, file, size: 900_000 },
      { drive: 'floppy', file: 'f', size: 1 },
      { drive: 'unknown', file: 'u', size: 1 },
    ]
    const { args, notes, there } = argumentsOf(t, machine, images, [file])
    assert.deepEqual(there, ['code', file, 'qemu', 'run.sh', 'uefi-variables.fd'].sort())
    const options = args.filter((arg) => arg.startsWith('-'))
    assert.ok(!options.includes('-S'))
    const name = args[args.indexOf('-name') + 1]
    assert.match(name, /^guest=[\p{L}\p{N} ._+@:-]+$/u)
    const [node] = args.flatMap((arg, index) => (args[index - 1] === '-blockdev' ? [JSON.parse(arg)] : []))
    assert.equal(node.file.filename, file)
    assert.deepEqual(
      devices(args).map(({ driver, serial }) => [driver, serial]),
      [
        ['virtio-scsi-pci', undefined],
        ['scsi-hd', undefined],
        ['virtio-blk-pci', undefined],
      ],
    )
    for (const pattern of [
      ...[/architecture/, /machine type/, /processor 'x/, /1048576 processors/, /TPM/, /Secure Boot/, /controller/],
      ...[/serial number/, /'absent' is not in the folder/, /'floppy' is on the bus floppy/, /'unknown'/],
      ...[/52:54:00:00:00:01 is a /, /52:54:00:00:00:02 is a 'constructor'/],
    ])
      assert.ok(
        notes.some((note) => pattern.test(note)),
        `${pattern}: ${notes.join('\n')}`,
      )
    assert.ok(notes.every((note) => !note.includes('\n')))
  })
})
