/** One file out of a backup: the partition, its filesystem, the file. */

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backup } from '../../src/operations/backup.ts'
import { serveBy } from '../live/serving.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs, which } from '../support/tools.ts'
import { LAUNCHER, oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }
const MiB = 2 ** 20
const README = join(import.meta.dirname, '../../src/cli/README.md')

/** An archive of a disk with a GPT, whose second partition is an ext4 filesystem with /etc/hello in it; sizes in MiB. */
async function makeArchive(t: TestContext, { before = 4, size = 16 } = {}): Promise<{ dir: string; archive: string }> {
  const dir = tmpDir(t)
  const [filesystem, disk] = [join(dir, 'filesystem'), join(dir, 'disk')]
  mkdirSync(join(dir, 'root/etc'), { recursive: true })
  writeFileSync(join(dir, 'root/etc/hello'), 'hello from the backup\n')
  writeFileSync(filesystem, '')
  truncateSync(filesystem, size * MiB)
  execFileSync(which('mkfs.ext4')!, ['-q', '-F', '-d', join(dir, 'root'), filesystem])
  writeFileSync(disk, '')
  truncateSync(disk, (before + size + 10) * MiB)
  const script = `label: gpt\nsize=${before}M, type=uefi, name=esp\nsize=${size}M, name="the root"\n`
  execFileSync(which('sfdisk')!, ['--quiet', disk], { input: script })
  execFileSync('dd', [
    `if=${filesystem}`,
    `of=${disk}`,
    'bs=1M',
    `seek=${before + 1}`,
    'conv=notrunc,sparse',
    'status=none',
  ])
  const archive = join(dir, 'vm.vma.zst')
  await backup({ drives: { 'drive-scsi0': disk }, to: archive })
  return { dir, archive }
}

test('partitions prints the commands that give the filesystems', {
  ...limits,
  ...needs('sfdisk', 'mkfs.ext4', 'debugfs'),
}, async (t) => {
  const { dir, archive } = await makeArchive(t)
  const named = join(dir, "it's a backup.vma.zst")
  copyFileSync(archive, named)
  const { code, stdout, stderr } = await vmapipe(['partitions', named, 'drive-scsi0'])
  assert.deepEqual([code, stderr], [0, ''])
  const lines = stdout.toString().split('\n')
  assert.match(lines[0], /^NUMBER +OFFSET +LENGTH +SIZE +TYPE +NAME$/)
  assert.match(lines[1], /^1 +1048576 +4194304 +4\.0 MiB +EFI system +esp$/)
  assert.match(lines[2], /^2 +5242880 +16777216 +16\.0 MiB +Linux +the root$/)
  const command = lines.find((line) => line.endsWith('> partition-2.img'))!.replace(/^vmapipe /, '"$0" "$1" ')
  execFileSync('sh', ['-c', command, process.execPath, LAUNCHER], { cwd: dir })
  const image = join(dir, 'partition-2.img')
  assert.ok(readFileSync(image).equals(readFileSync(join(dir, 'filesystem'))))
  const hello = execFileSync(which('debugfs')!, ['-R', 'cat /etc/hello', image], { encoding: 'utf8', stdio: 'pipe' })
  assert.equal(hello, 'hello from the backup\n')
})

test('the recipe of the README for one file is good as it stands', {
  ...limits,
  ...needs('sfdisk', 'mkfs.ext4', 'debugfs'),
}, async (t) => {
  const recipe = /<!-- example: one file -->\s*```sh\n(.*?)```/s.exec(readFileSync(README, 'utf8'))![1]
  const { dir } = await makeArchive(t, { before: 512, size: 64 })
  mkdirSync(join(dir, 'bin'))
  writeFileSync(join(dir, 'bin/vmapipe'), `#!/bin/sh\nexec '${process.execPath}' '${LAUNCHER}' "$@"\n`, { mode: 0o755 })
  const PATH = `${join(dir, 'bin')}:${process.env.PATH}:/usr/sbin:/sbin`
  const out = execFileSync('sh', ['-ec', recipe], { cwd: dir, env: { ...process.env, PATH }, stdio: 'pipe' })
  assert.match(String(out), /--offset 537919488 --length 67108864 > partition-2\.img/, 'what partitions said')
  assert.equal(readFileSync(join(dir, 'etc/hello'), 'utf8'), 'hello from the backup\n')
})

test('nbdfuse makes a file of an export, for those who want no copy', {
  ...limits,
  ...needs('nbdfuse', 'sfdisk', 'mkfs.ext4', 'debugfs'),
}, async (t) => {
  const { dir, archive } = await makeArchive(t)
  const mnt = join(dir, 'mnt')
  mkdirSync(mnt)
  const serving = await serveBy(t, ['export', archive], dir)
  const fuse = spawn('nbdfuse', [mnt, serving.uri('drive-scsi0')], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(fuse, 'close')
  // SIGTERM unmounts; before the folder is removed.
  t.after(async () => {
    fuse.kill('SIGTERM')
    await ended
  })
  let said = ''
  fuse.stderr.on('data', (text) => {
    said += text
  })
  while (!existsSync(join(mnt, 'nbd'))) {
    if (fuse.exitCode !== null) return lacking(t, `needs FUSE: ${said}`)
    await sleep(20)
  }
  const file = `${join(mnt, 'nbd')}?offset=${5 * MiB}`
  const hello = execFileSync(which('debugfs')!, ['-R', 'cat /etc/hello', file], { encoding: 'utf8', stdio: 'pipe' })
  assert.equal(hello, 'hello from the backup\n')
  fuse.kill('SIGTERM')
  await ended
})

test('partitions as JSON has them in bytes; a drive that is not there is named', {
  ...limits,
  ...needs('sfdisk', 'mkfs.ext4'),
}, async (t) => {
  const { archive } = await makeArchive(t)
  const { stdout } = await vmapipe(['partitions', '--json', archive, 'drive-scsi0'])
  const { scheme, sectorSize, partitions, problems } = JSON.parse(stdout.toString())
  assert.deepEqual([scheme, sectorSize, problems], ['gpt', 512, []])
  assert.deepEqual([partitions[1].offset, partitions[1].length, partitions[1].name], [5 * MiB, 16 * MiB, 'the root'])
  const outcome = await vmapipe(['partitions', archive, 'drive-scsi1'])
  assert.equal(outcome.code, 2)
  assert.match(oneLine(outcome), /the archive has no drive 'drive-scsi1'; it has drive-scsi0/)
})
