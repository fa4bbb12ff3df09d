import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { driveLines } from '../../src/cli/commands/drives.ts'
import type { QemuDrive } from '../../src/live/qemu/inventory/discovery.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { putFakeVirsh } from '../support/fake-virsh.ts'
import { startQemu } from '../support/qemu.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, vmapipe } from './cli.ts'

const timeout = 120_000
const withQemu = { timeout, ...needs('qemu-system-x86_64') }

async function startMachine(t: { after(hook: () => void | Promise<void>): void }): Promise<string> {
  const path = join(tmpDir(t), 'disk.raw')
  writeFileSync(path, Buffer.alloc(1 << 20))
  const { qmp } = await startQemu(t, [
    ...['-object', 'iothread,id=io1', '-blockdev', `driver=file,node-name=root,filename=${path}`],
    ...['-device', 'virtio-blk-pci,id=virtio0,drive=root,iothread=io1', '-device', 'ide-cd,id=ide2'],
  ])
  return qmp
}

describe('drives', () => {
  test('prints a table of the drives, and what is left out', withQemu, async (t) => {
    const qmp = await startMachine(t)
    const { code, stdout, stderr } = await vmapipe(['drives', '--qmp', qmp])
    assert.deepEqual([code, stderr], [0, ''])
    const [heads, drive, ...rest] = stdout.toString().trimEnd().split('\n')
    assert.match(heads, /^NAME +SIZE +DEVICE +NODE +FORMAT$/)
    assert.match(drive, /^drive-virtio0 +1\.0+ MiB +virtio-blk-pci +root +file +iothread io1$/)
    assert.deepEqual(rest, ['left out: drive-ide2 is an empty CD-ROM drive'])
    // It has let go of the socket.
    const next = await QmpClient.connect(qmp)
    next.close()
  })

  test('as JSON, with everything', withQemu, async (t) => {
    const { stdout } = await vmapipe(['drives', '--json', '--qmp', await startMachine(t)])
    const { drives, leftOut } = JSON.parse(stdout.toString())
    const [{ name, node, size, qomPath, iothread }] = drives
    assert.deepEqual([name, node, size, iothread], ['drive-virtio0', 'root', 1 << 20, 'io1'])
    assert.equal(qomPath, '/machine/peripheral/virtio0/virtio-backend')
    assert.deepEqual(leftOut, [{ name: 'drive-ide2', reason: 'is an empty CD-ROM drive', canBeChosen: false }])
  })

  test('of a socket that somebody else uses says so, in one line', withQemu, async (t) => {
    const qmp = await startMachine(t)
    const other = await QmpClient.connect(qmp)
    t.after(() => other.close())
    const outcome = await vmapipe(['drives', '--qmp', qmp])
    assert.equal(outcome.code, 1)
    assert.match(oneLine(outcome), /no QMP greeting within 5 s; .* another program is probably connected/)
  })

  test('wants to know which guest', { timeout }, async () => {
    for (const args of [[], ['--qmp', 'a', '--libvirt', 'b']]) {
      const outcome = await vmapipe(['drives', ...args])
      assert.equal(outcome.code, 2)
      assert.match(oneLine(outcome), /--qmp SOCKET or --libvirt DOMAIN/)
    }
  })

  test('of a libvirt domain warns that it gets tainted', { timeout }, async (t) => {
    const runs = putFakeVirsh(
      t,
      `const answers = { 'query-version': { qemu: { major: 7, minor: 2, micro: 0 }, package: '' }, 'query-block': [] }
      const value = answers[command.execute]
      const error = { class: 'GenericError', desc: 'none' }
      say(JSON.stringify(value ? { return: value } : { error }) + '\\n')`,
    )
    const { code, stdout, stderr } = await vmapipe(['drives', '--libvirt', 'vm1'])
    assert.deepEqual([code, stdout.toString()], [0, 'the guest has no drive to back up\n'])
    assert.match(stderr, /^WARNING: libvirt marks the domain vm1 as tainted .*\n$/)
    assert.equal(runs().filter((line) => line.startsWith('start')).length, 1, 'one virsh is spoken to')
  })

  test('shows names without letting them move the cursor', () => {
    const drive = { name: 'a\x1b[2J', size: 512, type: 'x\n', node: 'n\r', format: 'raw' } as QemuDrive
    const lines = driveLines({
      drives: [{ ...drive, iothread: null, throttleGroup: 'g\x07', shared: true }],
      leftOut: [{ name: 'b\x1b', reason: 'is odd', drive: null }],
    })
    assert.match(
      lines[1],
      /^a\\u\{1b\}\[2J +512 B +x\\u\{a\} +n\\u\{d\} +raw +throttled as g\\u\{7\}, others may write to it$/,
    )
    assert.equal(lines[2], 'left out: b\\u{1b} is odd')
  })
})
