import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { lateness } from '../support/lateness.ts'
import { proxmoxHost } from '../support/proxmox/host.ts'
import { useEvery2s } from '../support/proxmox/other-client.ts'
import { objections } from '../support/proxmox/qmrestore.ts'
import { startQemu } from '../support/qemu.ts'
import { needs } from '../support/tools.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'

const timeout = 120_000

function archiveIn(dump: string): string {
  const [name] = readdirSync(dump).filter((file) => /\.vma\.zst$/.test(file))
  return join(dump, name)
}

test('backup --proxmox writes an archive, notes and a log; qm can use the monitor all the time', {
  timeout,
  ...needs('qemu-system-x86_64', 'zstd'),
}, async (t) => {
  const host = proxmoxHost(t)
  const image = join(host.dir, 'disk')
  writeFileSync(image, Buffer.alloc(24 << 20, 'data'))
  const node = JSON.stringify({ driver: 'file', filename: image, 'node-name': 'drive-scsi0' })
  const { qmp } = await startQemu(t, [
    '-device',
    'virtio-scsi-pci',
    '-blockdev',
    node,
    '-device',
    'scsi-hd,drive=drive-scsi0,id=scsi0',
  ])
  const config = host.config('name: web01', 'memory: 64', 'scsi0: local-lvm:vm-100-disk-0,size=24M')
  const late = lateness()
  const qm = useEvery2s(t, qmp)
  const guest = [
    '--proxmox',
    '100',
    '--proxmox-config',
    config,
    '--qmp',
    qmp,
    '--notes-template',
    '{{guestname}} ({{vmid}})',
  ]
  const child = startCli(['backup', ...guest, '-o', host.dump, '--bwlimit', '4MiB/s', '--verify'])
  let log = ''
  child.stderr.on('data', (text) => {
    log += text
  })
  const [code] = await once(child, 'close')
  await qm.stop()
  assert.equal(code, 0, log)
  assert.match(log, /the archive was read back/)
  const archive = archiveIn(host.dump)
  assert.deepEqual(objections(archive), [])
  assert.equal(readFileSync(`${archive}.notes`, 'utf8'), 'web01 (100)')
  assert.match(readFileSync(archive.replace('.vma.zst', '.log'), 'utf8'), /INFO: point in time/)
  assert.deepEqual(qm.errors, [])
  assert.ok(qm.waits.length >= 2, `it came ${qm.waits.length} times`)
  assert.ok(Math.max(...qm.waits) < 3000 + late(), `it waited ${qm.waits.map(Math.round)} ms`)
})

test('repack --for-proxmox, and a restore by the names of Proxmox', { timeout, ...needs('zstd') }, async (t) => {
  const host = proxmoxHost(t)
  const image = host.image('disk.raw', 3 << 20)
  const plain = join(host.dir, 'x.vma.zst')
  assert.equal((await vmapipe(['backup', '-d', `drive-root=${image}`, '-o', plain, '-q'])).code, 0)
  const { code, stderr } = await vmapipe([
    'repack',
    plain,
    '--for-proxmox',
    '100',
    '-o',
    host.dump,
    '--progress',
    'plain',
  ])
  assert.equal(code, 0, stderr)
  assert.match(stderr, /nothing is known of drive-root: it becomes scsi0/)
  const archive = archiveIn(host.dump)
  assert.deepEqual(objections(archive), [])
  const target = join(host.dir, 'restored')
  assert.equal((await vmapipe(['restore', archive, '-d', `scsi0=${target}`, '-q'])).code, 0)
  assert.ok(readFileSync(target).equals(readFileSync(image)))
})

test('flags that do not go with --proxmox are refused by one line', { timeout }, async (t) => {
  const { dump } = proxmoxHost(t)
  const refused: [string[], RegExp][] = [
    [['--proxmox', '100', '--attach', 'x'], /--proxmox and --attach name two guests/],
    [['--proxmox', '100', '--with-ram'], /--with-ram does not go with --proxmox; qmrestore has no place/],
    [['--proxmox', '100', '-d', 'scsi0'], /drive scsi0 has no source/],
    [['--proxmox', '7'], /it is a number from 100 to 999999999/],
    [['--proxmox-config', 'x', '-d', 'a=b'], /--proxmox-config is for a guest of Proxmox/],
    [['--shared-monitor', '-d', 'a=b'], /--shared-monitor is for the monitor of a QEMU/],
  ]
  for (const [args, message] of refused) {
    const outcome = await vmapipe(['backup', ...args, '-o', dump])
    assert.match(oneLine(outcome), message)
    assert.equal(outcome.code, 2)
  }
  assert.deepEqual(readdirSync(dump), [])
})
