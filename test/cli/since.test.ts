import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }
const MiB = 1 << 20

interface Disk {
  dir: string
  disk: string
  /** Changes a byte of the disk. */
  touch(at: number): void
  backup(...args: string[]): ReturnType<typeof vmapipe>
}

/** A disk of 8 MiB, of which 4 have data. */
function makeDisk(t: TestContext): Disk {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  const image = Buffer.alloc(4 * MiB)
  for (let at = 0; at < image.length; at += 4) image.writeUInt32LE(Math.imul(at + 1, 2654435761) >>> 0, at)
  writeFileSync(disk, image)
  truncateSync(disk, 8 * MiB)
  return {
    dir,
    disk,
    touch(at) {
      const bytes = readFileSync(disk)
      bytes[at] ^= 0xff
      writeFileSync(disk, bytes)
    },
    backup: (...args) => vmapipe(['backup', '-d', `scsi0=${disk}`, ...args], { cwd: dir }),
  }
}

test('--since stores what changed; the archive restores to the whole disk', limits, async (t) => {
  const { dir, disk, touch, backup } = makeDisk(t)
  assert.equal((await backup('-o', 'full.vma.zst')).code, 0)
  touch(MiB)
  const made = await backup('--since', 'full.vma.zst', '-o', 'night.vmi.zst', '--verify')
  assert.equal(made.code, 0, made.stderr)
  assert.match(made.stderr, /incremental since 'full\.vma\.zst', [0-9a-f-]{36} of 20/)
  assert.match(made.stderr, /64\.0 KiB of data changed since the parent, archive of /)
  assert.match(made.stderr, /it is whole/)
  assert.ok(statSync(join(dir, 'night.vmi.zst')).size < 80_000)
  const restored = await vmapipe(['restore', 'night.vmi.zst', 'vm'], { cwd: dir })
  assert.equal(restored.code, 0, restored.stderr)
  assert.ok(readFileSync(join(dir, 'vm/disk-scsi0.raw')).equals(readFileSync(disk)))
})

test('--since auto makes a full archive first, and then incremental ones of this guest alone', limits, async (t) => {
  const { dir, touch, backup } = makeDisk(t)
  mkdirSync(join(dir, 'nas'))
  const first = await backup('--since', 'auto', '-o', 'nas/', '--guest', 'vm 1')
  assert.equal(first.code, 0, first.stderr)
  assert.match(first.stderr, /the archive is a full one: there is no archive of this guest in 'nas\/'/)
  assert.match(readdirSync(join(dir, 'nas'))[0], /^vm-1-20\d\d-\d\d-\d\dT\d{6}Z\.vma\.zst$/)
  touch(0)
  const second = await backup('--since', 'auto', '-o', 'nas/second.vmi', '--guest', 'vm 1', '--progress', 'json')
  const events = second.stderr
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
  const told = events.find(({ since }) => since !== undefined)
  assert.match(told.since.place, /^nas\/vm-1-/)
  assert.equal(told.full, null)
  const other = await backup('--since', 'auto', '-o', 'nas/other.vmi.zst', '--guest', 'vm 2')
  assert.match(other.stderr, /the archive is named 'nas\/other\.vma\.zst'/)
  assert.ok(existsSync(join(dir, 'nas/other.vma.zst')) && !existsSync(join(dir, 'nas/other.vmi.zst')))
})

test('an ordinary backup is found by --since auto, and one whose parent is gone is not used', limits, async (t) => {
  const { dir, backup } = makeDisk(t)
  assert.equal((await backup('-o', 'full.vma')).code, 0)
  const second = await backup('--since', 'auto', '-o', 'second.vmi')
  assert.match(second.stderr, /incremental since 'full\.vma'/)
  rmSync(join(dir, 'full.vma'))
  const third = await backup('--since', 'auto', '-o', 'third.vmi')
  assert.equal(third.code, 0, third.stderr)
  assert.match(third.stderr, /is a full one: the newest archive of this guest cannot be the parent: .*was not found/)
  assert.ok(existsSync(join(dir, 'third.vma')))
})

test('a parent that is named and cannot be used ends the backup before anything is written', limits, async (t) => {
  const { dir, backup } = makeDisk(t)
  const before = readdirSync(dir)
  const missing = await backup('--since', 'gone.vma', '-o', 'x.vmi')
  assert.equal(missing.code, 1)
  assert.match(oneLine({ ...missing, stderr: lastError(missing.stderr) }), /the parent cannot be used: .*gone\.vma/)
  const noArchive = await backup('--since', 'disk.raw', '-o', 'x.vmi')
  assert.equal(noArchive.code, 3, noArchive.stderr)
  assert.deepEqual(readdirSync(dir), before)
})

function lastError(stderr: string): string {
  return `${stderr.split('\n').find((line) => line.startsWith('vmapipe: '))}\n`
}

test('names say which kind an archive is', limits, async (t) => {
  const { backup } = makeDisk(t)
  for (const [args, message] of [
    [['-o', 'x.vmi.zst'], /'x\.vmi\.zst' says that the archive is incremental; say since when/],
    [
      ['--since', 'y.vma', '-o', 'x.vma.lz4'],
      /'x\.vma\.lz4' says that the archive is a full one; name it 'x\.vmi\.lz4'/,
    ],
    [['--since', 'auto', '-o', 'x.vma'], /name it 'x\.vmi'; if it has to be a full one, it is named 'x\.vma'/],
    [['--since', 'auto', '-o', '-'], /the newest archive is looked for in a folder, here or by ssh, or in a bucket/],
    [['--since', 'y.vma', '-o', 'x.vmi', '--no-index'], /must have checksums and an index/],
  ] as const) {
    const outcome = await backup(...args)
    assert.equal(outcome.code, 2, outcome.stderr)
    assert.match(outcome.stderr, message)
  }
})

test('--print-pipeline and a config do the same', limits, async (t) => {
  const { dir, touch, backup } = makeDisk(t)
  assert.equal((await backup('-o', 'full.vma', '--guest', 'vm1')).code, 0)
  touch(5)
  const printed = await backup('--since', 'auto', '--guest', 'vm1', '-o', 'night.vmi', '--print-pipeline')
  assert.match(printed.stdout.toString(), /change-filter:\s+since: auto\s+guest: vm1/)
  writeFileSync(join(dir, 'p.yaml'), printed.stdout)
  const ran = await vmapipe(['run', 'p.yaml'], { cwd: dir })
  assert.equal(ran.code, 0, ran.stderr)
  assert.match(ran.stderr, /incremental since 'full\.vma'/)
})
