import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { findContent } from '../../../src/storage/guard/signatures.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs, which } from '../../support/tools.ts'

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB
const timeout = 60_000

/** What the program makes of a device of this size; for most kinds a file will do. */
const KINDS: [program: string, args: string[], size: number, found: RegExp][] = [
  ['mkfs.ext4', ['-q', '-F'], 16 * MiB, /an ext2, ext3 or ext4 filesystem/],
  ['mkfs.xfs', ['-q', '-f'], GiB, /an XFS filesystem/],
  ['mkfs.btrfs', ['-q', '-f'], GiB, /a btrfs filesystem/],
  ['mkfs.vfat', [], 16 * MiB, /a FAT filesystem/],
  ['mkfs.vfat', ['-F', '32'], 64 * MiB, /a FAT filesystem/],
  ['mkfs.ntfs', ['-q', '-F', '-f'], 16 * MiB, /an NTFS filesystem/],
  ['mkfs.exfat', [], 16 * MiB, /an exFAT filesystem/],
  ['mkswap', [], 16 * MiB, /swap space/],
  ['mkswap', ['--pagesize', '65536'], 16 * MiB, /swap space/],
  [
    'cryptsetup',
    ['luksFormat', '--type', 'luks2', '-q', '--pbkdf-force-iterations', '1000', '--pbkdf', 'pbkdf2'],
    32 * MiB,
    /a LUKS header/,
  ],
  ['sgdisk', ['-n', '1:0:0'], 16 * MiB, /a GPT partition table/],
]

for (const [program, args, size, expected] of KINDS) {
  test(`${program} ${args.join(' ')}: is told, as by blkid`, { timeout, ...needs(program, 'blkid') }, async (t) => {
    const path = await device(t, size)
    // The others do not read, and may have ended before anything is written to them.
    const input = program === 'cryptsetup' ? 'password' : ''
    execFileSync(which(program)!, [...args, path], { stdio: ['pipe', 'ignore', 'ignore'], input })
    execFileSync(which('blkid')!, ['-p', path])
    assert.match((await contentOf(path))!, expected)
  })
}

test('an MBR, and the copy of a GPT alone, are told', { timeout, ...needs('sfdisk') }, async (t) => {
  const mbr = await device(t, 16 * MiB)
  execFileSync(which('sfdisk')!, ['-q', mbr], { input: 'label: dos\n,,83\n', stdio: ['pipe', 'ignore', 'ignore'] })
  assert.match((await contentOf(mbr))!, /an MBR partition table/)
  const gpt = await device(t, 16 * MiB)
  execFileSync(which('sfdisk')!, ['-q', gpt], { input: 'label: gpt\n,,L\n', stdio: ['pipe', 'ignore', 'ignore'] })
  await put(gpt, 0, Buffer.alloc(MiB))
  assert.match((await contentOf(gpt))!, /the second copy of a GPT partition table/)
})

/** What is made by programs that need a kernel's help, by their headers' offset and magic. */
const FORGED: [what: RegExp, size: number, at: number, magic: string][] = [
  [/an LVM physical volume/, 16 * MiB, 512, '4c4142454c4f4e45'],
  [/a member of an md array/, 16 * MiB, 0, 'fc4e2ba901000000'],
  [/a member of an md array/, 16 * MiB, 4096, 'fc4e2ba901000000'],
  // Version 1.0: between 8 and 12 KiB before the end; version 0.90: between 64 and 128 KiB, also of an odd size.
  [/a member of an md array/, 16 * MiB + 512, 16 * MiB - 8 * KiB, 'fc4e2ba901000000'],
  [/a member of an md array/, 16 * MiB + 4 * KiB, 16 * MiB - 64 * KiB, 'fc4e2ba900000000'],
  [/a bcache device/, 16 * MiB, 4096 + 24, 'c68573f64e1a45ca8265f57f48ba6d81'],
  [/DRBD metadata/, 16 * MiB, 16 * MiB - 4096 + 60, '8374026d'],
  [/a ZFS label/, 64 * MiB, 128 * KiB, '0cb1ba0000000000'],
  [/a VMFS volume/, 64 * MiB, MiB, '0dd001c0'],
]

for (const [what, size, at, magic] of FORGED) {
  test(`${what.source} is told by what is at byte ${at} of ${size}`, { timeout }, async (t) => {
    const path = await device(t, size)
    await put(path, at, Buffer.from(magic, 'hex'))
    assert.match((await contentOf(path))!, what)
  })
}

test('a byte that nobody knows counts where a signature could be, and not elsewhere', { timeout }, async (t) => {
  for (const at of [0, 70 * KiB, 256 * KiB, 64 * MiB, 128 * MiB - MiB, 128 * MiB - 1]) {
    const path = await device(t, 128 * MiB)
    await put(path, at, Buffer.of(1))
    assert.equal(await contentOf(path), `data (the first is at byte ${at})`)
  }
  const path = await device(t, 128 * MiB)
  await put(path, 32 * MiB, Buffer.alloc(MiB, 1))
  assert.equal(await contentOf(path), null)
})

test('an empty device is empty, however small', { timeout }, async (t) => {
  for (const size of [0, 512, 4096, 64 * KiB, 3 * MiB, 100 * MiB])
    assert.equal(await contentOf(await device(t, size)), null)
})

let count = 0
async function device(t: TestContext, size: number): Promise<string> {
  const path = join(tmpDir(t), `device${count++}`)
  writeFileSync(path, '')
  await truncate(path, size)
  return path
}

async function put(path: string, at: number, bytes: Buffer): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(bytes, 0, bytes.length, at)
  await file.close()
}

async function contentOf(path: string): Promise<string | null> {
  const file = await open(path, 'r')
  try {
    return await findContent(file, (await file.stat()).size)
  } finally {
    await file.close()
  }
}
