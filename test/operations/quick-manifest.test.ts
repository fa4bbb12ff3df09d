import assert from 'node:assert/strict'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { asVmapipeError } from '../../src/core/errors.ts'
import { backup } from '../../src/operations/backup.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { quickManifest } from '../../src/operations/quick-manifest.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 60_000 }
const { signal } = new AbortController()

async function archives(dir: string): Promise<string[]> {
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(300_000, 'x'))
  const config = join(dir, 'qemu-server.conf')
  writeFileSync(config, 'cores: 2\n')
  const made = ['a.vma', 'b.vma.zst', '13:05.vma'].map((name) => join(dir, name))
  for (const to of made) await backup({ drives: { d: disk }, configs: { 'qemu-server.conf': config }, to })
  return made
}

test('is the same as that of the pipeline, for a file as it stands and for others', limits, async (t) => {
  for (const from of await archives(tmpDir(t)))
    assert.deepEqual(await quickManifest({ from, signal }), await readManifest({ from }), from)
})

test('has the errors of the pipeline', limits, async (t) => {
  const dir = tmpDir(t)
  const [archive] = await archives(dir)
  const cut = join(dir, 'cut.vma')
  writeFileSync(cut, readFileSync(archive))
  truncateSync(cut, 5000)
  const flipped = join(dir, 'flipped.vma')
  const bytes = readFileSync(archive)
  bytes[4100] ^= 1
  writeFileSync(flipped, bytes)
  writeFileSync(join(dir, 'empty'), '')
  for (const from of [
    cut,
    flipped,
    join(dir, 'empty'),
    join(dir, 'none'),
    dir,
    `${dir}/`,
    '',
    's3://bucket/x',
    'a\0b',
  ]) {
    const wanted = await readManifest({ from }).then(() => assert.fail(from), asVmapipeError)
    const found = await quickManifest({ from, signal }).then(() => assert.fail(from), asVmapipeError)
    assert.deepEqual([found.code, found.line], [wanted.code, wanted.line], from)
  }
})
