import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { LAUNCHER } from '../cli/cli.ts'
import { writeImage } from '../support/image.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'
import { aftermath, files } from './aftermath.ts'

const timeout = 120_000
const MIB = 1 << 20
const COMPRESSIONS = ['none', 'zstd', 'lz4', 'gzip:1']

const dir = tmpDir({ after })
const disk = join(dir, 'disk.raw')
const archive = join(dir, 'a.vma')

type Job = (folder: string) => Promise<unknown>

const JOBS: Record<string, Job> = {
  ...Object.fromEntries(
    COMPRESSIONS.map((compress): [string, Job] => [
      `a backup with ${compress}`,
      (folder) => backup({ drives: { d: disk }, to: join(folder, 'b.vma'), compress }),
    ]),
  ),
  'a restore into a folder': (folder) => restore({ from: archive, into: join(folder, 'out') }),
  'a restore to a file': (folder) => restore({ from: archive, drives: { d: join(folder, 'd.raw') } }),
  'a restore to a qcow2 image': (folder) =>
    restore({ from: archive, drives: { d: `qcow2:${join(folder, 'd.qcow2')}` } }),
}

before(async () => {
  writeImage(disk, 24 * MIB, { noise: 12 * MIB, tail: 4 * MIB })
  await backup({ drives: { d: disk }, to: archive })
})

describe(`a disk that is full at a random place (VMAPIPE_SEED=${seed})`, { timeout, ...needs('mount') }, () => {
  const random = seeded(seed)
  for (const [what, job] of Object.entries(JOBS)) {
    test(`fails ${what} in one line, and nothing is left`, needs('qemu-nbd', 'qemu-img'), async (t) => {
      const small = tmpDir(t)
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', small]).status !== 0) {
        return lacking(t, 'needs the right to mount a tmpfs')
      }
      try {
        // What is loaded once stays open; the first run also shows that it works where there is room.
        await job(small)
        for (const name of files(small)) rmSync(join(small, name), { recursive: true, force: true })
        for (let n = 0; n < 6; n++) {
          const size = Math.floor(random() * 15.9 * MIB) + 4096
          execFileSync('mount', ['-o', `remount,size=${size}`, small])
          const error = await aftermath(small, () => job(small))
          assert.match(error.line, /no space left/i)
        }
      } finally {
        execFileSync('umount', ['-l', small])
      }
    })
  }
})

/** The system counts in blocks of 512 bytes; a write that crosses the limit is a short one, the next fails. */
describe(`a limit of the size of files at a random place (VMAPIPE_SEED=${seed})`, { timeout }, () => {
  const random = seeded(seed + 1)
  const limited = (args: string[]) => {
    const blocks = 200 + Math.floor(random() * 20_000)
    const script = `ulimit -f ${blocks}; exec "$@"`
    return spawnSync('/bin/sh', ['-c', script, '-', process.execPath, LAUNCHER, ...args, '--quiet'], {
      encoding: 'utf8',
    })
  }
  for (const compress of ['none', 'zstd']) {
    test(`fails a backup with ${compress} in one line, and nothing is left`, (t) => {
      const folder = tmpDir(t)
      const to = join(folder, 'b.vma')
      const { status, stderr } = limited(['backup', '-d', `d=${disk}`, '-o', to, '--compress', compress])
      assert.equal(status, 1, stderr)
      assert.match(stderr, /^vmapipe: file too large: [^\n]*\n$/)
      assert.deepEqual(files(folder), [])
    })
  }

  test('fails a restore in one line, and nothing is left', (t) => {
    const folder = tmpDir(t)
    mkdirSync(join(folder, 'x'))
    const { status, stderr } = limited(['restore', archive, join(folder, 'x/out')])
    assert.equal(status, 1, stderr)
    assert.match(stderr, /^vmapipe: file too large: [^\n]*\n$/)
    assert.deepEqual(files(folder), ['x'])
  })
})
