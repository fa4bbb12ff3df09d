import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { assertArchive, MiB, makeDisk } from '../live/images.ts'
import { serve } from '../live/serving.ts'
import { golden, goldenBytes, goldenPath, needsGolden } from '../support/golden.ts'
import { startQemu } from '../support/qemu.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, vmapipe } from './cli.ts'
import { writeGuest } from './guest.ts'

const limits = { timeout: 120_000 }

/** An archive with a damaged byte in its first extent's data. */
async function damagedArchive(t: Parameters<typeof tmpDir>[0]) {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  await backup({ drives: { 'drive-scsi0': disk }, to: archive })
  const bytes = readFileSync(archive)
  bytes[12800 + 512 + 4096] ^= 1
  writeFileSync(archive, bytes)
  return { dir, archive, bytes }
}

test('verify --json has everything on standard output, and exit code 3', limits, async (t) => {
  const { archive } = await damagedArchive(t)
  const { code, stdout, stderr } = await vmapipe(['verify', '--json', '--progress', 'none', archive])
  assert.deepEqual([code, stderr], [3, ''])
  const { whole, compression, drives, damage, damageCount, missing, ...rest } = JSON.parse(stdout.toString())
  assert.deepEqual(rest, { archive, behind: null })
  assert.deepEqual([whole, compression, damageCount, missing], [false, null, 1, []])
  const [{ name, checked, clusters, damagedBytes, damaged, missingBytes }] = drives
  assert.deepEqual([name, checked, clusters, missingBytes], ['drive-scsi0', 75, 75, 0])
  assert.deepEqual(damaged, [{ offset: 0, length: damagedBytes }])
  assert.deepEqual([damage[0].code, damage[0].where.offset, damage[0].stage], ['DAMAGED', 12800, 'vma-deframer'])
  assert.deepEqual(damage[0].clusters, [{ drive: 'drive-scsi0', first: 0, count: 58 }])
})

test('verify --json of an archive that is whole, and of what is none', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma.zst')
  await backup({ drives: { d: disk }, to: archive })
  const sound = await vmapipe(['verify', '--json', archive, '-q'])
  assert.equal(sound.code, 0, sound.stderr)
  const verdict = JSON.parse(sound.stdout.toString())
  assert.deepEqual([verdict.whole, verdict.damage, verdict.compression.format], [true, [], 'zstd'])
  const none = await vmapipe(['verify', '--json', disk, '-q'])
  assert.deepEqual([none.code, none.stderr], [3, ''])
  assert.match(JSON.parse(none.stdout.toString()).damage[0].message, /not a VMA archive/)
  const absent = await vmapipe(['verify', '--json', join(dir, 'absent')])
  assert.equal(absent.code, 1)
  assert.match(oneLine(absent), /no such file/)
})

test('all damage is a line each, and the last record of JSON progress', limits, async (t) => {
  const { dir, archive, bytes } = await damagedArchive(t)
  bytes[bytes.indexOf('VMAE', 13_000, 'latin1') + 40] ^= 1
  writeFileSync(archive, bytes)
  const lines = await vmapipe(['verify', archive])
  assert.equal(lines.code, 3)
  assert.match(
    lines.stderr,
    /^vmapipe: .*checksum of the data.*\nvmapipe: .*checksum of the extent header.*\nvmapipe: .*17 of 75 clusters missing.*\n$/,
  )
  assert.match(lines.stdout.toString(), /^drive-scsi0: +3\.6 MiB damaged, 1\.\d MiB missing +4\.7 MiB +58 clusters\n/)
  const into = join(dir, 'out')
  const { code, stderr } = await vmapipe(['restore', archive, into, '--progress', 'json'])
  assert.equal(code, 3)
  const record = JSON.parse(stderr.trim().split('\n').at(-1)!)
  assert.deepEqual([record.type, record.exitCode, record.report.damageCount], ['error', 3, 3])
  assert.match(record.notes[0], /^drive drive-scsi0 is not whole: 3\.6 MiB damaged, 1\.\d MiB missing; left as /)
  assert.deepEqual(readdirSync(into), ['disk-drive-scsi0.raw.damaged'])
})

test('restore --salvage lists what could not be restored, and ends with exit code 3', limits, async (t) => {
  const { dir, archive } = await damagedArchive(t)
  const into = join(dir, 'out')
  const { code, stderr } = await vmapipe(['restore', archive, into, '--salvage'])
  assert.equal(code, 3)
  assert.match(stderr, /^vmapipe: drive drive-scsi0 is not whole: .*; salvaged as '.*disk-drive-scsi0\.raw'$/m)
  assert.match(stderr, /^vmapipe: drive drive-scsi0, bytes 0 to 3801087: damaged \(kept as read\)$/m)
  assert.deepEqual(readdirSync(into), ['disk-drive-scsi0.raw'])
})

test('what has no checksum of its data is said to have none', { ...limits, ...needsGolden }, async (t) => {
  const name = golden.has('pve-like') ? 'pve-like' : [...golden.keys()][0]
  const compressed = await vmapipe(['verify', goldenPath(name)])
  assert.equal(compressed.code, 0, compressed.stderr)
  assert.match(compressed.stdout.toString(), /no checksums of its data, but the zstd compression has: they are right\n/)
  const plain = join(tmpDir(t), 'a.vma')
  writeFileSync(plain, goldenBytes(name))
  const bare = await vmapipe(['verify', plain])
  assert.equal(bare.code, 0, bare.stderr)
  assert.match(bare.stdout.toString(), /whether that is what was written could not be checked\nthe archive is whole: /)
})

test('a zstd archive without a checksum of its own is said to have none', {
  ...limits,
  ...needs('zstd'),
}, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const plain = join(dir, 'a.vma')
  await backup({ drives: { d: disk }, to: plain, checksums: false, index: false })
  assert.equal(spawnSync('zstd', ['-q', '--no-check', plain, '-o', `${plain}.zst`]).status, 0)
  const { stdout } = await vmapipe(['verify', `${plain}.zst`])
  assert.match(stdout.toString(), /no checksums of its data, nor has the zstd compression: it could not be checked\n/)
})

test('backup --verify reads the archive back', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma.zst')
  const { code, stderr } = await vmapipe(['backup', '-d', `drive-scsi0=${disk}`, '-o', archive, '--verify'])
  assert.equal(code, 0, stderr)
  assert.match(stderr, /^INFO: .* the archive was read back in .*: it is whole$/m)
  for (const target of ['-', 'exec:cat > a.vma']) {
    const refused = await vmapipe(['backup', '-d', `drive-scsi0=${disk}`, '-o', target, '--verify'])
    assert.equal(refused.code, 2)
    assert.match(oneLine(refused), /an archive that goes to .* cannot be read back; verify it where it arrives/)
  }
})

test('backup --verify reads an archive back over ssh', {
  ...limits,
  ...needs('sshd', 'ssh', 'ssh-keygen'),
}, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const { home, path } = await startSshd(t)
  const to = `ssh://${SSH_HOST}/~/a.vma.zst`
  const env = { PATH: path }
  const { code, stderr } = await vmapipe(['backup', '-d', `d=${disk}`, '-o', to, '--verify'], { env })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /the archive was read back in .*: it is whole/)
  assert.deepEqual(readdirSync(home), ['a.vma.zst'])
})

test('backup --verify reads the archive of a running guest back', limits, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, MiB)
  const serving = await serve(t, { a: disk })
  const archive = join(dir, 'a.vma')
  const { code, stderr } = await vmapipe(['backup', '--attach', serving.control, '-o', archive, '--verify'])
  assert.equal(code, 0, stderr)
  assert.match(stderr, /it is whole$/m)
})

test('backup --verify reads the archive of a guest of a stock QEMU back', {
  ...limits,
  ...needs('qemu-system-x86_64'),
}, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, MiB)
  const { qmp } = await startQemu(t, [
    ...['-blockdev', `driver=file,node-name=root,filename=${disk}`],
    ...['-device', 'virtio-blk-pci,id=virtio0,drive=root'],
  ])
  const archive = join(dir, 'a.vma.zst')
  const { code, stderr } = await vmapipe(['backup', '--qmp', qmp, '-o', archive, '--verify'])
  assert.equal(code, 0, stderr)
  assert.match(stderr, /it is whole$/m)
  await assertArchive(t, archive, { 'drive-virtio0': disk })
})

test('an archive that was cut is refused by restore before it makes anything', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  await backup({ drives: { d: disk }, to: archive })
  truncateSync(archive, readFileSync(archive).length - 512)
  const refused = await vmapipe(['restore', archive, join(dir, 'out')])
  assert.equal(refused.code, 3)
  assert.match(oneLine(refused), /has no end.*--salvage/)
  assert.ok(!existsSync(join(dir, 'out')))
  // All drives are there: nothing but the end is missing.
  const salvaged = await vmapipe(['restore', archive, join(dir, 'out'), '--salvage'])
  assert.equal(salvaged.code, 3)
  assert.match(oneLine(salvaged), /has no end/)
  assert.ok(readFileSync(join(dir, 'out/disk-d.raw')).equals(readFileSync(disk)))
})
