import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import {
  abort,
  backupGuest,
  definePipeline,
  detach,
  drives,
  type GuestStatus,
  guestSource,
  indexArchive,
  serve,
  sink,
  toNodeStream,
  verify,
  vmaFramer,
  writeInterceptor,
  zeroElider,
} from '../../src/index.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { assertArchive, keepCopy, MiB, makeDisk } from '../live/images.ts'
import { startQemu } from '../support/qemu.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const limits = { timeout: 60_000 }

type Hooks = Parameters<typeof tmpDir>[0] & { after(hook: () => unknown): void }

async function served(t: Hooks) {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, 16 * MiB)
  const [socket, control] = [join(dir, 'nbd'), join(dir, 'ctl')]
  const server = await serve({ drives: { 'drive-scsi0': disk }, socket, control, buffer: 32 * MiB })
  t.after(() => server.stop())
  return { dir, disk, socket, control, server, to: join(dir, 'vm.vma.zst') }
}

describe('in code, a guest whose disk is served', limits, () => {
  test('is backed up at one instant while it writes', limits, async (t) => {
    const { disk, socket, control, server, to } = await served(t)
    const before = keepCopy(disk)
    const guest = await NbdClient.connect({ socketPath: socket, exportName: 'drive-scsi0' }, { depth: 4 })
    t.after(() => guest.close())
    const seen: GuestStatus[] = []
    const running = backupGuest({ attach: control, to, bwlimit: '16MiB/s', onGuest: (status) => seen.push(status) })
    while (server.status.backup === null) await new Promise((resolve) => setImmediate(resolve))
    await guest.write([Buffer.alloc(MiB, 'new')], 8 * MiB)
    const { guest: figures, manifest } = await running
    assert.equal(manifest.drives[0].name, 'drive-scsi0')
    assert.ok(figures!.clusters.copied > 0, 'old data was copied before the write')
    assert.deepEqual(seen.at(-1), figures)
    await assertArchive(t, to, { 'drive-scsi0': before })
    assert.deepEqual(await indexArchive({ archive: to }).then(({ path }) => path), null, 'it has an index of its own')
  })

  test('keeps no archive of a backup that somebody ends', limits, async (t) => {
    const { control, server, to } = await served(t)
    assert.equal(await abort({ attach: control }), false)
    const running = backupGuest({ attach: control, to, bwlimit: '1MiB/s' })
    running.catch(() => {})
    while (server.status.backup === null) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(await abort({ attach: control }), true)
    await assert.rejects(running, { code: 'FAILED' })
    assert.equal(existsSync(to), false)
  })

  test('is the source of a pipeline of its own, and of a Node stream', limits, async (t) => {
    const { dir, disk, control } = await served(t)
    const names: string[] = []
    const listener = { name: (text: string) => names.push(text) }
    const source = guestSource({ attach: control, listener })
    const to = join(dir, 'own.vma')
    await definePipeline([source, writeInterceptor(), zeroElider(), vmaFramer(), sink({ to })]).run()
    await assertArchive(t, to, { 'drive-scsi0': disk })
    assert.deepEqual(names, [`guest at ${control}`])
    const stream = toNodeStream(definePipeline([source, writeInterceptor(), zeroElider(), vmaFramer()]))
    const out = new PassThrough()
    const archive = buffer(out)
    stream.on('error', (error) => out.destroy(error)).pipe(out)
    await assertArchive(t, await archive, { 'drive-scsi0': disk })
  })
})

test('in code, the guest of a QEMU tells its drives, is backed up, and has nothing left in it', {
  ...limits,
  ...needs('qemu-system-x86_64'),
}, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, 8 * MiB)
  const { qmp } = await startQemu(t, [
    ...['-blockdev', `driver=file,node-name=node0,filename=${disk}`],
    ...['-device', 'virtio-blk-pci,id=dev0,drive=node0'],
  ])
  const { drives: all, leftOut } = await drives({ qmp })
  assert.deepEqual([all.map(({ name, size }) => [name, size]), leftOut], [[['drive-dev0', 8 * MiB]], []])
  const to = join(dir, 'vm.vma')
  const { guest, drives: reports } = await backupGuest({ qmp, to, drives: ['dev0'] })
  assert.equal(guest!.clusters.scanned, 128)
  assert.deepEqual(
    reports.map(({ name }) => name),
    ['drive-dev0'],
  )
  await verify({ from: to })
  assert.deepEqual(await detach({ qmp }), { removed: [], continued: false, paused: false })
})

test('in code, wrong options are USAGE, before anything is opened', limits, async () => {
  const wrong: [string, () => Promise<unknown>, RegExp][] = [
    ['backupGuest', () => backupGuest({ to: 'x.vma' }), /name one guest, by qmp, libvirt or attach/],
    ['backupGuest', () => backupGuest({ qmp: 'a', attach: 'b', to: 'x.vma' }), /name one guest/],
    ['backupGuest', () => backupGuest({ qmp: 'a', to: 'x.vma', maxStal: 5 } as never), /there is no option 'maxStal'/],
    ['backupGuest', () => backupGuest({ qmp: 'a', to: 'x.vma', maxStall: 5 }), /maxStall: expected at least 100/],
    ['backupGuest', () => backupGuest({ qmp: 'a', to: 'x.tar' }), /does not tell the compression/],
    ['backupGuest', () => backupGuest({ attach: 'a', agent: 'b', to: 'x.vma' }), /agent: is for the guest of a QEMU/],
    [
      'backupGuest',
      () => backupGuest({ qmp: 'a', guestBuffer: 64 * MiB, to: 'x.vma' }),
      /waits in the memory of the pipeline/,
    ],
    ['serve', () => serve({ drives: { a: 'x' } }), /nothing says where guests connect/],
    ['serve', () => serve({ drives: { a: 'x' }, socket: 's', bwlimit: 'fast' }), /a rate such as 50MiB\/s/],
    ['drives', () => drives({}), /nothing says where the guest is/],
    ['drives', () => drives({ qmp: 'a', connect: 'b' }), /only libvirt has a URI/],
    ['detach', () => detach({ qmp: 'a', libvirt: 'b' }), /nothing says where the guest is/],
    ['abort', () => abort({} as never), /attach: is missing/],
  ]
  for (const [name, call, message] of wrong) await assert.rejects(call, { code: 'USAGE', message }, name)
})
