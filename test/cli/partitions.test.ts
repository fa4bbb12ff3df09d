/** One file out of a backup: the partition, its filesystem, the file. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { backup } from '../../src/jobs/backup.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs, which } from '../support/tools.ts'
import { LAUNCHER, oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 60_000 }
const MiB = 2 ** 20

/** An archive of a disk with a GPT, whose second partition is an ext4 filesystem with `hello` in it. */
async function makeArchive(t: TestContext): Promise<{ dir: string; archive: string }> {
  const dir = tmpDir(t)
  const [filesystem, disk] = [join(dir, 'filesystem'), join(dir, 'disk')]
  mkdirSync(join(dir, 'root'))
  writeFileSync(join(dir, 'root/hello'), 'hello from the backup\n')
  writeFileSync(filesystem, '')
  truncateSync(filesystem, 16 * MiB)
  execFileSync(which('mkfs.ext4')!, ['-q', '-F', '-d', join(dir, 'root'), filesystem])
  writeFileSync(disk, '')
  truncateSync(disk, 40 * MiB)
  const script = 'label: gpt\nsize=4M, type=uefi, name=esp\nsize=16M, name="the root"\n'
  execFileSync(which('sfdisk')!, ['--quiet', disk], { input: script })
  execFileSync('dd', [`if=${filesystem}`, `of=${disk}`, 'bs=1M', 'seek=5', 'conv=notrunc', 'status=none'])
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
  const hello = execFileSync(which('debugfs')!, ['-R', 'cat /hello', image], { encoding: 'utf8', stdio: 'pipe' })
  assert.equal(hello, 'hello from the backup\n')
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
