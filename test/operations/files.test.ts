import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  cpSync,
  createWriteStream,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { findFilesystems } from '../../src/operations/files/filesystems.ts'
import { FishReader } from '../../src/operations/files/fish-reader.ts'
import { extractInto } from '../../src/operations/files/to-folder.ts'
import { packInto } from '../../src/operations/files/to-tar.ts'
import { entriesAt, extractFiles, type FilesOptions, withGuestfish } from '../../src/operations/files.ts'
import { vmapipe } from '../cli/cli.ts'
import { libguestfsEnvironment, needsLibguestfs } from '../support/libguestfs.ts'
import { LVM_DATA, lvmHeader } from '../support/lvm.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

/** Without KVM each of the three starts of libguestfs takes 10 s of a processor. */
const limits = { timeout: 600_000 }
const MiB = 1 << 20
const random = seeded(7)
const BIG = Buffer.from(Array.from({ length: 3 * MiB + 17 }, () => random() * 256))

/** What is in the filesystems that can have it. */
function writeTree(dir: string): string {
  const tree = join(dir, 'tree')
  mkdirSync(join(tree, 'etc/deep/er'), { recursive: true })
  writeFileSync(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n')
  writeFileSync(join(tree, 'etc/deep/er/big'), BIG)
  return tree
}

function writeHostile(tree: string): void {
  const evil = join(tree, 'evil')
  mkdirSync(evil)
  symlinkSync('/etc', join(evil, 'absolute'))
  symlinkSync('../../../outside', join(evil, 'out'))
  symlinkSync('.', join(evil, 'self'))
  symlinkSync('self/..', join(evil, 'through'))
  symlinkSync('../etc/hosts', join(evil, 'within'))
  writeFileSync(join(evil, 'setuid'), '#!/bin/sh\n')
  chmodSync(join(evil, 'setuid'), 0o6755)
  linkSync(join(evil, 'setuid'), join(evil, 'setuid-too'))
  writeFileSync(join(evil, 'two\nlines \x1b[2J" | touch pwned'), 'x')
  writeFileSync(Buffer.concat([Buffer.from(`${evil}/latin`), Buffer.from([0xe4])]), 'ä')
  execFileSync('mkfifo', [join(evil, 'pipe')])
}

/** The tree as mkfs.xfs reads it. */
function protofile(dir: string, tree: string): string {
  const file = (name: string, path: string) => `${name} ---644 0 0 ${join(tree, path)}`
  const lines = [
    '/',
    '0 0',
    'd--755 0 0',
    'etc d--755 0 0',
    file('hosts', 'etc/hosts'),
    'deep d--755 0 0',
    'er d--755 0 0',
  ]
  const path = join(dir, 'proto')
  writeFileSync(path, `${[...lines, file('big', 'etc/deep/er/big'), '$', '$', '$', '$'].join('\n')}\n`)
  return path
}

function image(dir: string, name: string, size: number): string {
  const path = join(dir, name)
  writeFileSync(path, '')
  truncateSync(path, size)
  return path
}

function copyIntoNtfs(dir: string, tree: string, ntfs: string): void {
  const mounted = join(dir, 'mounted')
  mkdirSync(mounted)
  execFileSync('ntfs-3g', [ntfs, mounted])
  try {
    cpSync(tree, mounted, { recursive: true })
  } finally {
    execFileSync('umount', [mounted])
  }
}

/** A partition with a volume of LVM that has an ext3. */
function makeLvm(disk: string, tree: string): void {
  const start = MiB
  execFileSync('sfdisk', ['-q', disk], { input: `label: dos\nstart=${start / 512}\n` })
  const { header, volumeSize } = lvmHeader(statSync(disk).size - start, 'vg0', 'root')
  const file = openSync(disk, 'r+')
  writeSync(file, header, 0, header.length, start)
  closeSync(file)
  const at = ['-E', `offset=${start + LVM_DATA}`, disk, `${volumeSize / 1024}k`]
  execFileSync('mkfs.ext3', ['-q', '-d', tree, ...at])
}

/** NTFS is mounted to write to it. */
const isRoot = process.getuid?.() === 0 || process.env.CI !== undefined
const skip = needsLibguestfs().skip || needs('ntfs-3g', 'mcopy').skip || (!isRoot && 'needs root')

describe('files of an archive', { ...limits, skip }, () => {
  const dir = tmpDir({ after })
  let from: string
  const saved = { ...process.env }

  before(async () => {
    Object.assign(process.env, libguestfsEnvironment())
    const tree = writeTree(dir)
    const xfs = image(dir, 'xfs', 320 * MiB)
    const [ext2, ntfs, fat] = ['ext2', 'ntfs', 'fat'].map((name) => image(dir, name, 24 * MiB))
    const btrfs = image(dir, 'btrfs', 128 * MiB)
    const lvm = image(dir, 'lvm', 64 * MiB)
    execFileSync('mkfs.ext2', ['-q', '-d', tree, ext2])
    execFileSync('mkfs.btrfs', ['-q', '--rootdir', tree, btrfs])
    execFileSync('mkfs.ntfs', ['-q', '-F', ntfs], { stdio: 'ignore' })
    copyIntoNtfs(dir, tree, ntfs)
    makeLvm(lvm, tree)
    execFileSync('mkfs.vfat', [fat])
    execFileSync('mcopy', ['-s', '-i', fat, join(tree, 'etc'), '::etc'])
    writeHostile(tree)
    const ext4 = image(dir, 'ext4', 64 * MiB)
    execFileSync('sfdisk', ['-q', ext4], { input: 'label: gpt\nsize=2048\nsize=100000\n' })
    execFileSync('mkfs.ext4', ['-q', '-L', 'system', '-d', tree, '-E', `offset=${4096 * 512}`, ext4, '50000k'])
    execFileSync('mkfs.xfs', ['-q', '-p', protofile(dir, tree), xfs])
    from = join(dir, 'vm.vma.zst')
    await backup({ drives: { ext2, btrfs, ntfs, fat, lvm, ext4, xfs }, to: from })
  })
  after(() => {
    for (const name of Object.keys(process.env)) if (!(name in saved)) delete process.env[name]
  })

  test(
    'every filesystem is listed, and its files are extracted as they were, into a folder and as a tar',
    limits,
    async (t) => {
      await withGuestfish('files', { from }, async (fish, drives, folder) => {
        const found = await findFilesystems(fish, drives)
        assert.deepEqual(
          found.map(({ name, type }) => `${name} ${type}`).sort(),
          ['btrfs btrfs', 'ext2 ext2', 'ext4:2 ext4', 'fat vfat', 'lvm:vg0/root ext3', 'ntfs ntfs', 'xfs xfs'].sort(),
        )
        assert.deepEqual(
          found.filter(({ name }) => name === 'ext4:2').map(({ label, size }) => [label, size]),
          [['system', 100000 * 512]],
        )
        for (const filesystem of found) {
          const { name } = filesystem
          const reader = await FishReader.open(fish, filesystem, folder)
          const etc = (await reader.entry('etc'))!
          assert.equal(etc.type, 'folder', name)
          await assert.rejects(entriesAt(reader, ['etc', 'nope']), {
            code: 'FAILED',
            message: "there is no '/nope' in this filesystem",
          })
          const into = join(tmpDir(t), 'found')
          const { files } = await extractInto(into, reader.items(etc), (message) => assert.fail(message))
          assert.deepEqual([files, readdirSync(into)], [2, ['etc']], name)
          const packed = join(tmpDir(t), 'packed')
          mkdirSync(packed)
          const tar = createWriteStream(join(packed, 'x.tar'))
          await packInto(tar, reader.items(etc), (message) => assert.fail(message))
          await new Promise<void>((resolve) => tar.end(() => resolve()))
          execFileSync('tar', ['-C', packed, '-xf', join(packed, 'x.tar')])
          for (const folder of [into, packed]) {
            assert.equal(readFileSync(join(folder, 'etc/hosts'), 'utf8'), '127.0.0.1 localhost\n', name)
            assert.ok(readFileSync(join(folder, 'etc/deep/er/big')).equals(BIG), name)
          }
          await fish.run('umount-all')
        }
      })
    },
  )

  test('what is hostile stays in the folder', limits, async (t) => {
    const into = join(tmpDir(t), 'new/found')
    const warnings: string[] = []
    const options: FilesOptions = { from, filesystem: 'ext4', warn: (message) => warnings.push(message) }
    await extractFiles(options, ['evil', '/etc/hosts'], into)
    const evil = join(into, 'evil')
    assert.deepEqual(readdirSync(join(into, '..')), ['found'])
    assert.equal(lstatSync(join(evil, 'setuid')).mode & 0o7777, 0o755)
    assert.equal(lstatSync(join(evil, 'setuid-too')).ino, lstatSync(join(evil, 'setuid')).ino)
    assert.equal(readlinkSync(join(evil, 'within')), '../etc/hosts')
    for (const name of ['absolute', 'out', 'through', 'pipe']) {
      assert.equal(lstatSync(join(evil, name), { throwIfNoEntry: false }), undefined, name)
      assert.ok(
        warnings.some((text) => text.includes(`/evil/${name}'`)),
        warnings.join('\n'),
      )
    }
    assert.ok(existsSync(join(evil, 'two\nlines \x1b[2J" | touch pwned')))
    assert.ok(existsSync(Buffer.concat([Buffer.from(`${evil}/latin`), Buffer.from([0xe4])])))
    assert.ok(!existsSync('pwned'))
  })

  test('a listing shows names without letting them move the cursor', limits, async () => {
    const listed = await vmapipe(['files', from, 'ext4:2', '/evil', '/etc/hosts'], { longest: 400_000 })
    assert.equal(listed.code, 0, listed.stderr)
    const lines = listed.stdout.toString()
    assert.match(lines, /^-rwxr-xr-x +\d+:\d+ +10 +\S+ +\/evil\/setuid$/m)
    assert.match(lines, /\/evil\/absolute -> \/etc$/m)
    assert.match(lines, /\/evil\/two\\u\{a\}lines \\u\{1b\}\[2J" \| touch pwned$/m)
    assert.match(lines, /\/evil\/latin\\xe4$/m)
    assert.match(lines, /\/etc\/hosts$/m)
  })

  test('what is not there is one line, and leaves nothing', limits, async (t) => {
    const into = join(tmpDir(t), 'found')
    await assert.rejects(extractFiles({ from, filesystem: 'nothing' }, ['/'], into), { code: 'USAGE', hint: /ext2/ })
    await assert.rejects(extractFiles({ from, filesystem: 'ext2' }, ['/../x'], into), { code: 'USAGE' })
    assert.ok(!existsSync(into))
  })
})

test('without guestfish the message says how to get it', limits, async (t) => {
  const dir = tmpDir(t)
  const disk = image(dir, 'disk', MiB)
  const from = join(dir, 'a.vma')
  await backup({ drives: { d: disk }, to: from })
  const { code, stderr } = await vmapipe(['files', from], { env: { PATH: dir } })
  assert.equal(code, 1)
  assert.match(stderr, /reading files needs guestfish of libguestfs; install it \(Debian: apt install libguestfs-tools/)
})
