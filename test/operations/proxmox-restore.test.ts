import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { goldenPath, needsGolden } from '../support/golden.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000
const SIZE = 3 << 20

const MAP = [
  '#qmdump#map:scsi0:drive-scsi0:local:qcow2:',
  '#qmdump#map:scsi1:drive-scsi1:local-lvm:raw:',
  '#qmdump#map:sata0:drive-sata0:local:vmdk:',
]

interface Vzdump {
  dir: string
  archive: string
  image: string
}

async function vzdump(t: TestContext, map: readonly string[] = MAP, size = SIZE): Promise<Vzdump> {
  const dir = tmpDir(t)
  const [image, config, archive] = ['image', 'conf', 'x.vma'].map((name) => join(dir, name))
  writeImage(image, size, { noise: 70_000, tail: 700 })
  writeFileSync(config, ['name: web01', ...map, ''].join('\n'))
  const drives = Object.fromEntries(
    ['scsi0', 'scsi1', 'sata0', 'tpmstate0-backup'].map((key) => [`drive-${key}`, image]),
  )
  await backup({ drives, configs: { 'qemu-server.conf': config }, to: archive })
  return { dir, archive, image }
}

function same(format: string, path: string, image: string): void {
  execFileSync('qemu-img', ['compare', '-q', '-f', format, '-F', 'raw', path, image])
}

test('in a folder, images have the formats that they had in Proxmox', {
  timeout,
  ...needs('qemu-img', 'qemu-nbd'),
}, async (t) => {
  const { dir, archive, image } = await vzdump(t)
  const into = join(dir, 'restored')
  await restore({ from: archive, into })
  const files = readdirSync(into).sort()
  assert.deepEqual(files, [
    'disk-drive-sata0.vmdk',
    'disk-drive-scsi0.qcow2',
    'disk-drive-scsi1.raw',
    'disk-drive-tpmstate0-backup.raw',
    'qemu-server.conf',
  ])
  for (const file of files.slice(0, -1)) same(file.slice(file.lastIndexOf('.') + 1), join(into, file), image)
})

test('the user may want another format for all of them', { timeout, ...needs('qemu-img', 'qemu-nbd') }, async (t) => {
  const { dir, archive, image } = await vzdump(t)
  await restore({ from: archive, into: join(dir, 'raw'), format: 'raw' })
  assert.ok(readFileSync(join(dir, 'raw', 'disk-drive-scsi0.raw')).equals(readFileSync(image)))
  await restore({ from: archive, into: join(dir, 'qcow2'), format: 'qcow2' })
  same('qcow2', join(dir, 'qcow2', 'disk-drive-scsi1.qcow2'), image)
  await assert.rejects(restore({ from: archive, into: join(dir, 'x'), format: 'exe' }), { code: 'USAGE' })
  await assert.rejects(restore({ from: archive, drives: { scsi0: join(dir, 'x') }, format: 'qcow2' }), {
    code: 'USAGE',
  })
})

test('formats that nobody has, and images that are no whole sectors, are raw', { timeout }, async (t) => {
  const lines = [
    '#qmdump#map:scsi0:drive-scsi0:local:../../x:',
    '#qmdump#map:scsi1:drive-scsi1:local:exe:',
    '#qmdump#map:sata0:drive-sata0:local:qcow2:',
  ]
  const { dir, archive } = await vzdump(t, lines, SIZE + 100)
  const into = join(dir, 'restored')
  await restore({ from: archive, into })
  assert.deepEqual(
    readdirSync(into).filter((file) => !file.endsWith('.raw')),
    ['qemu-server.conf'],
  )
})

test('drives are found by the names that Proxmox gives them', { timeout }, async (t) => {
  const { dir, archive, image } = await vzdump(t)
  const [scsi, tpm] = ['scsi', 'tpm'].map((name) => join(dir, name))
  await restore({ from: archive, drives: { scsi0: scsi, tpmstate0: tpm } })
  for (const path of [scsi, tpm]) assert.ok(readFileSync(path).equals(readFileSync(image)))
  const twice = { scsi1: join(dir, 'a'), 'drive-scsi1': join(dir, 'b') }
  await assert.rejects(restore({ from: archive, drives: twice }), {
    code: 'USAGE',
    message: /'drive-scsi1' has two targets/,
  })
  await assert.rejects(restore({ from: archive, drives: { scsi9: join(dir, 'c') } }), {
    code: 'USAGE',
    message: /no drive 'scsi9'/,
  })
  for (const name of ['a', 'b', 'c']) assert.equal(existsSync(join(dir, name)), false)
})

test('an archive of the real tool is restored by these names too', { timeout, ...needsGolden }, async (t) => {
  const dir = tmpDir(t)
  const target = join(dir, 'efi')
  await restore({ from: goldenPath('pve-like'), drives: { efidisk0: target } })
  await restore({ from: goldenPath('pve-like'), into: join(dir, 'all') })
  assert.ok(readFileSync(target).equals(readFileSync(join(dir, 'all', 'disk-drive-efidisk0.raw'))))
})
