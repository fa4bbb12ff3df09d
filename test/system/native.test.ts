import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { vmapipe } from '../cli/cli.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'

const ROOT = join(import.meta.dirname, '../..')
const NODE_OPTIONS = `--import ${join(ROOT, 'test/support/no-compiled-code.mjs')}`
const bare = { env: { NODE_OPTIONS } }

/** The core of the suite: stages, drives, jobs. What remains either compresses LZ4, or looks at how holes are found. */
const SUITES = [
  'test/stages/vma-framer.test.ts',
  'test/stages/zero.test.ts',
  'test/stages/sink.test.ts',
  'test/storage/nbd-drive.test.ts',
  'test/operations/partitions.test.ts',
]

describe('without the compiled code of any package', { timeout: 360_000 }, () => {
  for (const suffix of ['vma.zst', 'vma.gz', 'vma.lz4', 'vma']) {
    test(`a .${suffix} is listed, verified, read and restored`, async (t) => {
      const dir = tmpDir(t)
      const disk = join(dir, 'disk.raw')
      const archive = join(dir, `a.${suffix}`)
      writeImage(disk, 3 << 20, { noise: 1 << 20 })
      const made = await vmapipe(['backup', '-q', '-d', `d=${disk}`, '-o', archive], suffix === 'vma.lz4' ? {} : bare)
      assert.equal(made.code, 0, made.stderr)
      assert.match((await vmapipe(['list', archive], bare)).stdout.toString(), /devname: d$/m)
      assert.equal((await vmapipe(['verify', '-q', archive], bare)).code, 0)
      const cat = await vmapipe(['cat', archive, 'd'], bare)
      assert.ok(cat.stdout.equals(readFileSync(disk)), cat.stderr)
      const restored = await vmapipe(['restore', '-q', archive, join(dir, 'out')], bare)
      assert.equal(restored.code, 0, restored.stderr)
      assert.ok(readFileSync(join(dir, 'out/disk-d.raw')).equals(readFileSync(disk)))
    })
  }

  test('an archive with hashes is verified, and one without is written', async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, 3 << 20, { noise: 1 << 20 })
    for (const [name, options, algorithm] of [
      ['with.vma', {}, 2],
      ['without.vma', bare, 1],
    ] as const) {
      const made = await vmapipe(['backup', '-q', '-d', `d=${disk}`, '-o', join(dir, name)], options)
      assert.equal(made.code, 0, made.stderr)
      assert.deepEqual(
        [...readFileSync(join(dir, name)).subarray(12800 + 504, 12800 + 508)],
        [0x56, 0x43, algorithm, 0],
      )
      assert.equal((await vmapipe(['verify', '-q', join(dir, name)], bare)).code, 0)
    }
  })

  test('LZ4 compression is one clear line', async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, 1 << 20, { noise: 1 << 20 })
    const { code, stderr } = await vmapipe(['backup', '-q', '-d', `d=${disk}`, '-o', join(dir, 'a.vma.lz4')], bare)
    assert.equal(code, 1)
    assert.match(stderr, /^vmapipe: [^\n]*LZ4 compression needs the compiled code of lz4-napi[^\n]*\n$/)
  })

  test('the core of the suite passes', () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const { status, stdout } = spawnSync(process.execPath, ['--test', ...SUITES], {
      cwd: ROOT,
      env: { ...env, NODE_OPTIONS },
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout)
  })
})
