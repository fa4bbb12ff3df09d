import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { bindStage } from '../../src/config/registry.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Manifest, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { defineStage, z } from '../../src/core/stage.ts'
import { backup } from '../../src/operations/backup.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { repack } from '../../src/operations/repack.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { goldenPath, needsGolden } from '../support/golden.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const UUID = '01234567-89ab-4cde-8f01-23456789abcd'
const CLUSTERS = 300

/** Two drives whose every block tells where it belongs; every fifth cluster is a hole. */
function images(dir: string): Record<string, string> {
  return Object.fromEntries(
    ['a', 'b'].map((name) => {
      const image = Buffer.alloc(CLUSTERS * CLUSTER_SIZE + 512)
      for (let at = 0; at < image.length; at += 512)
        if (Math.floor(at / CLUSTER_SIZE) % 5 !== 0) image.write(`${name}${at}`, at)
      const path = join(dir, `${name}.raw`)
      writeFileSync(path, image)
      return [name, path]
    }),
  )
}

/** An archive as a guest that writes makes it: clusters in no order at all. */
async function outOfOrder(drives: Record<string, string>, to: string): Promise<void> {
  const contents = Object.values(drives).map((path) => readFileSync(path))
  const manifest = new Manifest({
    uuid: Buffer.from(UUID.replaceAll('-', ''), 'hex'),
    ctime: 1_700_000_000,
    configs: [{ name: 'vm.conf', data: new Uint8Array(Buffer.from('memory: 512\n')) }],
    drives: Object.keys(drives).map((name, index) => ({ id: index + 1, name, size: contents[index].length })),
  })
  const random = seeded(7)
  const clusters = contents
    .flatMap((bytes, index) => Array.from({ length: Math.ceil(bytes.length / CLUSTER_SIZE) }, (_, n) => ({ index, n })))
    .map((cluster) => ({ ...cluster, key: random() }))
    .sort((one, other) => one.key - other.key)
  const items = [
    manifest,
    ...clusters.map(({ index, n }) => {
      const bytes = Buffer.alloc(CLUSTER_SIZE)
      contents[index].copy(bytes, 0, n * CLUSTER_SIZE)
      return new Run(index + 1, n, 1, [bytes.subarray(0, n === CLUSTERS ? 4096 : CLUSTER_SIZE)])
    }),
  ]
  const shuffled = defineStage({
    name: 'shuffled',
    summary: 'clusters in no order',
    input: 'nothing',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => ({ read: async () => items.shift() ?? null }),
  })
  const compress = to.endsWith('.zst') ? [bindStage('compressor')] : []
  await definePipeline([
    shuffled(),
    bindStage('zero-elider'),
    bindStage('vma-framer'),
    ...compress,
    bindStage('sink', { to }),
  ]).run()
}

describe('a repacked archive', { timeout }, () => {
  for (const from of ['vm.vma', 'vm.vma.zst']) {
    test(`of ${from} has each drive in order, and is the same whatever the order was`, async (t) => {
      const dir = tmpDir(t)
      const drives = images(dir)
      await outOfOrder(drives, join(dir, from))
      const to = join(dir, 'ordered.vma')
      await repack({ from: join(dir, from), to })
      assert.ok((await verify({ from: to })).drives.every(({ clusters }) => clusters === CLUSTERS + 1))
      await restore({ from: to, into: join(dir, 'out') })
      for (const [name, path] of Object.entries(drives))
        assert.ok(readFileSync(join(dir, `out/disk-${name}.raw`)).equals(readFileSync(path)), name)
      assert.equal(readFileSync(join(dir, 'out/vm.conf'), 'utf8'), 'memory: 512\n')
      // What a backup at rest makes, one drive after the other.
      const again = join(dir, 'again.vma')
      await repack({ from: to, to: again })
      assert.ok(readFileSync(again).equals(readFileSync(to)))
      const { uuid, ctime } = await readManifest({ from: to })
      assert.deepEqual([Buffer.from(uuid).toString('hex'), ctime], [UUID.replaceAll('-', ''), 1_700_000_000])
    })
  }

  test('may have another compression, UUID and time, and fewer drives', async (t) => {
    const dir = tmpDir(t)
    const drives = images(dir)
    const from = join(dir, 'vm.vma.lz4')
    await backup({ drives, to: from })
    for (const keepOrder of [false, true]) {
      const to = join(dir, `small-${keepOrder}.vma.gz`)
      await repack({ from, to, keepOrder, leaveOut: ['a'], uuid: UUID, ctime: 5 })
      const { uuid, ctime, drives: left } = await readManifest({ from: to })
      assert.deepEqual([Buffer.from(uuid).toString('hex'), ctime], [UUID.replaceAll('-', ''), 5])
      assert.deepEqual(
        left.map(({ name }) => name),
        ['b'],
      )
      await restore({ from: to, drives: { b: join(dir, `b-${keepOrder}.raw`) } })
      assert.ok(readFileSync(join(dir, `b-${keepOrder}.raw`)).equals(readFileSync(drives.b)))
    }
    await assert.rejects(repack({ from, to: join(dir, 'no.vma'), keep: ['c'] }), {
      code: 'USAGE',
      message: /no drive 'c'/,
      hint: 'it has a, b',
    })
  })

  test('of the real tool gets checksums and an index', { ...needsGolden }, async (t) => {
    const dir = tmpDir(t)
    for (const name of ['c116', 'pve-like', 'masks']) {
      const to = join(dir, `${name}.vma`)
      await repack({ from: goldenPath(name), to, keepOrder: true })
      const bare = join(dir, `${name}-bare.vma`)
      await repack({ from: to, to: bare, keepOrder: true, checksums: false, index: false })
      assert.ok(readFileSync(to).length > readFileSync(bare).length)
      await restore({ from: goldenPath(name), into: join(dir, `${name}-1`) })
      await restore({ from: to, into: join(dir, `${name}-2`) })
      execFileSync('diff', ['-r', join(dir, `${name}-1`), join(dir, `${name}-2`)])
    }
  })

  test('comes through a pipe, with its order kept or unpacked on the way', { ...needs('lzop') }, async (t) => {
    const dir = tmpDir(t)
    const drives = images(dir)
    const from = join(dir, 'vm.vma')
    await backup({ drives, to: from })
    execFileSync('lzop', [from])
    const to = join(dir, 'new.vma')
    await repack({ from: `exec:cat '${from}.lzo'`, to, keepOrder: true })
    assert.ok(readFileSync(to).equals(readFileSync(from)))
    const ordered = join(dir, 'ordered.vma')
    await repack({ from: `exec:cat '${from}.lzo'`, to: ordered, spool: dir })
    const direct = join(dir, 'direct.vma')
    await repack({ from, to: direct })
    assert.ok(readFileSync(ordered).equals(readFileSync(direct)))
    await repack({ from: `${from}.lzo`, to: ordered, force: true })
    assert.ok(readFileSync(ordered).equals(readFileSync(direct)))
  })

  test('is not there when the old one is damaged', async (t) => {
    const dir = tmpDir(t)
    const from = join(dir, 'vm.vma')
    await backup({ drives: images(dir), to: from })
    const bytes = readFileSync(from)
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(from, bytes)
    const to = join(dir, 'new.vma')
    await assert.rejects(repack({ from, to }), { code: 'DAMAGED' })
    assert.throws(() => readFileSync(to), { code: 'ENOENT' })
  })
})
