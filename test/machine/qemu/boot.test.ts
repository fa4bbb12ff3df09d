import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { machineSchema } from '../../../src/machine/machine.ts'
import { backupGuest } from '../../../src/operations/backup-guest.ts'
import { restoreQemu } from '../../../src/operations/restore-qemu.ts'
import { makeTellingDisk, needsTellingDisk } from '../../support/guest/telling-disk.ts'
import { writeImage } from '../../support/image.ts'
import { startQemu } from '../../support/qemu.ts'
import { INSTALLED, NEWER, needsQemu, type QemuBuild } from '../../support/qemu-builds.ts'
import { tmpDir } from '../../support/tmp.ts'

/** Under emulation, UEFI takes long on a busy machine. */
const limits = { timeout: 400_000 }
const BOOT_MS = 300_000

const UUID = '6d1f0b5e-8f3a-4a7c-9b1e-d2f4a3f0a077'
const MAC = '52:54:00:0a:0b:0c'
const CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
const VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd'

/** A guest that has not begun to run is backed up by its monitor; its machine is made again from the archive, and boots. */
async function roundTrip(t: TestContext, build: QemuBuild, args: (dir: string) => string[]) {
  const dir = tmpDir(t)
  makeTellingDisk(join(dir, 'boot.raw'), dir)
  writeImage(join(dir, 'data.raw'), 3 << 20, { noise: 1 << 20, text: 1 << 20 })
  const { qmp } = await startQemu(
    t,
    [
      ...['-name', "it's a guest", '-uuid', UUID, '-smp', '2,sockets=1,cores=2', '-m', '192'],
      ...args(dir),
      ...['-netdev', 'user,id=n', '-device', `virtio-net-pci,netdev=n,mac=${MAC}`],
    ],
    build,
  )
  const from = join(dir, 'vm.vma.zst')
  await backupGuest({ qmp, to: from })
  const into = join(dir, 'restored')
  const warnings: string[] = []
  await restoreQemu({ from, into, warn: (message) => warnings.push(message) })
  assert.deepEqual(warnings, [])
  const script = join(into, 'run.sh')
  assert.equal(statSync(script).mode & 0o777, 0o700)
  assert.equal(spawnSync('sh', ['-n', script]).status, 0)
  const machine = machineSchema.parse(JSON.parse(readFileSync(join(into, 'guest.json'), 'utf8')))
  return { into, machine, said: await run(t, script) }
}

/** Runs the script until the guest has switched itself off, and returns what it said. */
async function run(t: TestContext, script: string): Promise<string> {
  const env = { ...process.env, ACCEL: 'tcg' }
  const child = spawn(script, ['-no-reboot'], { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: BOOT_MS })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (said += data))
  const [code] = await once(child, 'close')
  assert.equal(code, 0, said)
  return /BOOTED .* end/.exec(said)?.[0] ?? assert.fail(`it did not boot: ${said}`)
}

describe('run.sh boots the guest again', { ...limits, ...needsTellingDisk() }, () => {
  test('with a BIOS, disks on SCSI and virtio', { ...limits, ...needsQemu(NEWER, 'qemu-system-x86_64') }, async (t) => {
    const { machine, said } = await roundTrip(t, NEWER, (dir) => [
      ...['-machine', 'pc-i440fx-7.2', '-cpu', 'Nehalem'],
      ...[
        '-blockdev',
        `driver=file,node-name=b,filename=${dir}/boot.raw`,
        '-device',
        'virtio-blk-pci,drive=b,bootindex=0',
      ],
      ...['-device', 'virtio-scsi-pci,id=sc', '-blockdev', `driver=file,node-name=d,filename=${dir}/data.raw`],
      ...['-device', 'scsi-hd,drive=d,bus=sc.0,serial=SN1'],
    ])
    assert.deepEqual(
      [machine.type, machine.cpu?.model, machine.memory, machine.firmware?.kind],
      ['pc-i440fx-7.2', 'Nehalem', 192 << 20, 'bios'],
    )
    assert.match(said, /firmware=bios mac=52:54:00:0a:0b:0c uuid=6d1f0b5e-8f3a-4a7c-9b1e-d2f4a3f0a077 processors=2/)
    assert.match(said, /disks=,vda=98304,sda=6144 end/)
  })

  const uefi = existsSync(CODE) || process.env.CI ? {} : { skip: 'needs ovmf' }
  test('with UEFI, its variables copied, disks on virtio and NVMe', { ...limits, ...uefi }, async (t) => {
    const { into, machine, said } = await roundTrip(t, INSTALLED, (dir) => {
      copyFileSync(VARIABLES, join(dir, 'vars.fd'))
      return [
        ...['-machine', 'q35'],
        ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${CODE}`],
        ...['-drive', `if=pflash,unit=1,format=raw,id=drive-efidisk0,file=${dir}/vars.fd`],
        ...['-blockdev', `driver=file,node-name=b,filename=${dir}/boot.raw`],
        ...['-device', 'virtio-blk-pci,drive=b,bootindex=0'],
        ...['-blockdev', `driver=file,node-name=d,filename=${dir}/data.raw`, '-device', 'nvme,drive=d,serial=N1'],
      ]
    })
    assert.deepEqual(machine.firmware, { kind: 'uefi', secureBoot: false, variables: 'drive-efidisk0' })
    assert.match(said, /firmware=uefi mac=52:54:00:0a:0b:0c uuid=6d1f0b5e-8f3a-4a7c-9b1e-d2f4a3f0a077 processors=2/)
    assert.match(said, /disks=,vda=98304,nvme0n1=6144 end/)
    const [kept, restored] = ['uefi-variables.fd', 'disk-drive-efidisk0.raw'].map((name) =>
      readFileSync(join(into, name)),
    )
    assert.equal(kept.length, restored.length)
    assert.ok(restored.equals(readFileSync(VARIABLES)), 'the restored variables are as they were')
    assert.ok(!kept.equals(restored), 'the guest has written to its copy')
  })
})
