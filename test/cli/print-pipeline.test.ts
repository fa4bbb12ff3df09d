import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { footprintOf, namesIn } from '../../src/live/qemu/attachment/footprint.ts'
import { machineSchema } from '../../src/machine/machine.ts'
import { restore } from '../../src/operations/restore.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { MiB, makeDisk } from '../live/images.ts'
import { serve } from '../live/serving.ts'
import { putLibvirt } from '../support/fake-virsh.ts'
import { qemuNbd } from '../support/nbd-server.ts'
import { startQemu } from '../support/qemu.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'
import { writeGuest } from './guest.ts'

const limits = { timeout: 90_000 }

/** The log without what differs between two runs: times, rates, the archive's name, and the stage that `run` names. */
function told(stderr: string): string[] {
  return stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !/%/.test(line) || /guest:|zeros/.test(line))
    .map((line) =>
      line.replace(/\d{4}-\d\d-\d\dT\S+|[\d.,]+|[KMG]i?B(\/s)?|\bB(\/s)?|\bk\/s|command|config|ms|s\b/g, ''),
    )
    .map((line) =>
      line
        .replace(/^vmapipe: (guest|cluster)-source: /, 'vmapipe: ')
        .replace(/ +/g, ' ')
        .trim(),
    )
}

async function content(t: TestContext, archive: string): Promise<Record<string, Buffer>> {
  const into = join(tmpDir(t), 'restored')
  await restore({ from: archive, into })
  return Object.fromEntries(readdirSync(into).map((name) => [name, readFileSync(join(into, name))]))
}

/** Makes the same backup by the command and by the config that it prints. Gives the config and what both archives have. */
async function bothWays(t: TestContext, dir: string, args: string[], code = 0) {
  const [byCommand, byConfig] = ['command', 'config'].map((name) => join(dir, `${name}.vma.zst`))
  const file = join(dir, 'printed.yaml')
  const printed = await vmapipe(['backup', ...args, '-o', byConfig, '--print-pipeline'])
  assert.equal(printed.code, 0, printed.stderr)
  assert.equal(printed.stderr, '')
  assert.ok(!existsSync(byConfig), 'nothing is done')
  writeFileSync(file, printed.stdout)
  const command = await vmapipe(['backup', ...args, '-o', byCommand])
  assert.equal(command.code, code, command.stderr)
  const config = await vmapipe(['run', file])
  assert.equal(config.code, code, config.stderr)
  assert.deepEqual(told(config.stderr), told(command.stderr))
  const text = printed.stdout.toString()
  if (code !== 0) return { text, value: parse(text), restored: {} }
  const restored = await content(t, byConfig)
  assert.deepEqual(restored, await content(t, byCommand))
  return { text, value: parse(text), restored }
}

test('drives at rest: what is printed does the same, with all options', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk, config } = writeGuest(dir)
  const args = ['-d', `drive-scsi0=${disk}`, '-d', `scsi1=${disk}`, '-c', config, '--compress', 'zstd:7,frame=128KiB']
  const more = ['--no-index', '--no-checksums', '--bwlimit', '1GiB', '--buffer', '32MiB', '--threads', '1', '--verify']
  const { value, restored } = await bothWays(t, dir, [...args, ...more])
  assert.deepEqual(Object.keys(restored).sort(), ['disk-drive-scsi0.raw', 'disk-scsi1.raw', 'qemu-server.conf'])
  assert.deepEqual(value, {
    name: 'backup',
    threads: 1,
    buffer: 32 << 20,
    verify: true,
    stages: [
      {
        'cluster-source': {
          drives: { 'drive-scsi0': disk, scsi1: disk },
          configs: { 'qemu-server.conf': config },
        },
      },
      { 'rate-limit': { rate: 1 << 30 } },
      'zero-elider',
      { 'vma-framer': { checksums: false, index: false } },
      { compressor: { method: 'zstd', level: 7, frame: 128 << 10, map: false } },
      { sink: { to: join(dir, 'config.vma.zst') } },
    ],
  })
})

test('drives of an NBD server', { ...limits, ...needs('qemu-nbd') }, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const uri = await qemuNbd(t, join(dir, 'nbd'), ['--format=raw', '--read-only', disk])
  const { restored } = await bothWays(t, dir, ['-d', `drive-scsi0=${uri}`])
  const bytes = readFileSync(disk)
  // The server rounds up to whole sectors.
  assert.ok(restored['disk-drive-scsi0.raw'].subarray(0, bytes.length).equals(bytes))
})

test('a guest whose disk is served', limits, async (t) => {
  const dir = tmpDir(t)
  const [disk, other] = ['disk', 'other'].map((name) => join(dir, name))
  for (const path of [disk, other]) makeDisk(path, 16 * MiB)
  const { control, status } = await serve(t, { 'drive-scsi0': disk, 'drive-scsi1': other }).then((serving) => ({
    control: serving.control,
    status: () => serving.status(),
  }))
  const guest = ['--attach', control, '--exclude', 'drive-scsi1', '--max-stall', '2500ms', '--buffer', '32MiB']
  const { value, restored } = await bothWays(t, dir, [...guest, '--bwlimit', '1GiB'])
  assert.deepEqual(value.stages.slice(0, 4), [
    { 'guest-source': { attach: control, exclude: ['drive-scsi1'] } },
    { 'rate-limit': { rate: 1 << 30 } },
    { 'write-interceptor': { 'max-stall': '2500ms', buffer: 32 << 20 } },
    'zero-elider',
  ])
  assert.deepEqual(Object.keys(restored).sort(), ['disk-drive-scsi0.raw', 'guest.json'])
  assert.ok(restored['disk-drive-scsi0.raw'].equals(readFileSync(disk)))
  assert.deepEqual(machineSchema.parse(JSON.parse(restored['guest.json'].toString())), {
    version: 1,
    from: 'serve',
    disks: [{ drive: 'drive-scsi0', bus: 'other', size: 16 * MiB }],
  })
  const { backup, last } = await status()
  assert.deepEqual([backup, last?.complete, last?.status.buffer.size], [null, true, 32 << 20])
})

describe('a guest of QEMU', { ...limits, ...needs('qemu-system-x86_64') }, () => {
  async function machine(t: TestContext) {
    const dir = tmpDir(t)
    const images = [0, 1].map((index) => join(dir, `image${index}`))
    for (const image of images) makeDisk(image, 8 * MiB)
    const drives = images.flatMap((image, index) => [
      ...['-blockdev', `driver=file,node-name=node${index},filename=${image}`],
      ...['-device', `virtio-blk-pci,id=dev${index},drive=node${index}`],
    ])
    const own = join(dir, 'own')
    const { qmp } = await startQemu(t, [...drives, '-qmp', `unix:${own},server=on,wait=off`])
    const monitor = await QmpClient.connect(own)
    t.after(() => monitor.close())
    return { dir, images, qmp, left: async () => namesIn(await footprintOf(monitor)) }
  }

  test('by its QMP socket', limits, async (t) => {
    const { dir, images, qmp, left } = await machine(t)
    mkdirSync(join(dir, 'sockets'))
    const flags = ['--mode', 'guarded', '--max-stall', '5', '--socket-dir', join(dir, 'sockets'), '--bwlimit', '1G']
    const { value, restored } = await bothWays(t, dir, ['--qmp', qmp, '-d', 'drive-scsi0=node1', ...flags])
    assert.deepEqual(value.stages[0]['guest-source'], {
      qmp,
      drives: { 'drive-scsi0': 'node1' },
      mode: 'guarded',
      'socket-dir': join(dir, 'sockets'),
    })
    assert.deepEqual(value.stages[2], { 'write-interceptor': { 'max-stall': '5s' } })
    assert.deepEqual(Object.keys(restored).sort(), ['disk-drive-scsi0.raw', 'guest.json'])
    assert.ok(restored['disk-drive-scsi0.raw'].equals(readFileSync(images[1])))
    assert.deepEqual(await left(), [])
  })

  test('through libvirt, of a URI', limits, async (t) => {
    const { dir, images, qmp, left } = await machine(t)
    const log = putLibvirt(t, qmp)
    const guest = ['--libvirt', 'vm1', '--connect', 'qemu:///session', '--exclude', 'drive-dev0', '--mode', 'push']
    const { value, restored } = await bothWays(t, dir, guest)
    assert.equal(value.stages[0]['guest-source'].connect, 'qemu:///session')
    assert.deepEqual(Object.keys(restored).sort(), ['disk-drive-dev1.raw', 'domain.xml', 'guest.json'])
    assert.ok(restored['disk-drive-dev1.raw'].equals(readFileSync(images[1])))
    assert.ok(log().length > 0)
    assert.deepEqual(await left(), [])
  })

  test('is left as it was by a run that is interrupted', limits, async (t) => {
    const { dir, qmp, left } = await machine(t)
    const [file, to] = [join(dir, 'slow.yaml'), join(dir, 'slow.vma')]
    const slow = ['backup', '--qmp', qmp, '--bwlimit', '200K', '-o', to, '--print-pipeline']
    writeFileSync(file, (await vmapipe(slow)).stdout)
    const child = startCli(['run', file])
    const exit = once(child, 'close')
    let said = ''
    child.stderr.on('data', (text) => {
      said += text
    })
    while (!said.includes('point in time')) await once(child.stderr, 'data')
    assert.ok((await left()).length > 0)
    child.kill('SIGINT')
    assert.equal((await exit)[0], 130, said)
    assert.deepEqual(await left(), [])
    assert.equal(existsSync(to), false)
  })

  test('fails in the same way, and leaves nothing in QEMU', limits, async (t) => {
    const { dir, qmp, left } = await machine(t)
    for (const [args, code] of [
      [['-d', 'none'], 2],
      [['--exclude', 'drive-dev0', '--exclude', 'drive-dev1'], 2],
      [['-c', join(dir, 'missing')], 1],
    ] as const) {
      await bothWays(t, dir, ['--qmp', qmp, ...args], code)
      assert.deepEqual(await left(), [])
    }
  })
})

test('values with special characters survive', limits, async (t) => {
  const dir = join(tmpDir(t), `a \${HOME} $\${x} #b: 'c' "d" \\e\n\té {f} [g] & *h !i |`)
  mkdirSync(dir)
  const { disk } = writeGuest(dir)
  writeFileSync(join(dir, '100.conf'), 'name: x\n')
  const names = ['yes', '~', '12', '<<', '- a', "it's: #1"]
  const drives = names.flatMap((name) => ['-d', `${name}=${disk}`, '-c', `${name}.conf=${join(dir, '100.conf')}`])
  const { restored } = await bothWays(t, dir, drives)
  const expected = names.flatMap((name) => [`${name}.conf`, `disk-${name}.raw`])
  assert.deepEqual(Object.keys(restored).sort(), expected.sort())
})

test('nothing is opened to print, and what is wrong is told as without it', limits, async () => {
  const print = (...args: string[]) => vmapipe(['backup', ...args, '--print-pipeline'])
  const printed = await print('--qmp', '/none', '--with-ram', '-o', 'ssh://nobody@none.invalid/vm.vma')
  assert.equal(printed.code, 0, printed.stderr)
  assert.match(
    printed.stdout.toString(),
    /^name: backup\nstages:\n {2}- guest-source:\n {6}qmp: \/none\n {6}with-ram: true\n/,
  )
  for (const [args, line] of [
    [['-d', 'a=b', '-o', 'x.tar'], /does not tell the compression/],
    [['-d', 'a=b', '--exclude', 'a', '-o', 'x.vma'], /--exclude is for a running guest/],
    [['-d', 'a=b', '--connect', 'x', '-o', 'x.vma'], /--connect is for a guest of libvirt/],
    [['--qmp', 'a', '--attach', 'b', '-o', 'x.vma'], /name two guests/],
  ] as const) {
    const outcome = await print(...args)
    assert.equal(outcome.code, 2)
    assert.match(oneLine(outcome), line)
  }
})

test('run --verify and verify: true find a damaged archive, and refuse what cannot be read back', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const file = join(dir, 'a.yaml')
  const config = (to: string, ...more: string[]) =>
    [
      `stages:`,
      `  - cluster-source: {drives: {a: ${disk}}}`,
      '  - vma-framer',
      ...more,
      `  - sink: {to: '${to}'}`,
    ].join('\n')
  writeFileSync(file, config(join(dir, 'a.vma')))
  const good = await vmapipe(['run', file, '--verify'])
  assert.equal(good.code, 0, good.stderr)
  assert.match(good.stderr, /the archive was read back in .*: it is whole/)
  writeFileSync(file, config('-'))
  const piped = await vmapipe(['run', file, '--verify'])
  assert.equal(piped.code, 2)
  assert.match(oneLine(piped), /cannot be read back/)
  writeFileSync(file, `verify: true\nstages:\n  - source: {from: ${disk}}\n  - sink: {to: x}\n`)
  assert.match(oneLine(await vmapipe(['run', file])), /makes no archive of drives/)
})
