import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { chainSource } from '../../src/chain/chain-source.ts'
import { zstdFrames } from '../../src/codecs/zstd/frames.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { LiveRestore } from '../../src/operations/live-restore.ts'
import { repack } from '../../src/operations/repack.ts'
import { restore } from '../../src/operations/restore.ts'
import { clusterWriter } from '../../src/stages/cluster-writer.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { source } from '../../src/stages/source.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { zeroExpander } from '../../src/stages/zero-expander.ts'
import { patchyImage } from '../access/made-archive.ts'
import { makeChain, type State, states } from '../support/chain.ts'
import { tmpDir } from '../support/tmp.ts'

const C = 65536
const STATES = states(patchyImage(60 * C + 1000, 3), patchyImage(25 * C, 4))
const LAST = STATES.length - 1

function assertRestored(folder: string, state: State): void {
  for (const [name, image] of Object.entries(state))
    assert.ok(readFileSync(join(folder, `disk-${name}.raw`)).equals(image), name)
}

suite('a chain is restored', () => {
  for (const method of ['none', 'zstd'] as const) {
    test(`as the last archive of it (${method})`, async (t) => {
      const dir = tmpDir(t)
      const paths = await makeChain(dir, STATES, { method, frame: 128 << 10, shuffled: true })
      for (const depth of [1, 3, LAST]) {
        const into = join(dir, `vm${depth}`)
        const { drives } = await restore({ from: paths[depth], into })
        assert.equal(drives.length, Object.keys(STATES[depth]).length)
        assertRestored(into, STATES[depth])
      }
    })
  }

  test('also if there is little memory', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES, { method: 'zstd', shuffled: true })
    await restore({ from: paths[LAST], into: join(dir, 'vm'), buffer: 16 << 20 })
    assertRestored(join(dir, 'vm'), STATES[LAST])
  })

  test('with parents that are elsewhere', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES.slice(0, 3), { method: 'zstd' })
    mkdirSync(join(dir, 'old'))
    renameSync(paths[0], join(dir, 'old', 'x'))
    const into = join(dir, 'vm')
    await assert.rejects(restore({ from: paths[2], into }), (error) => {
      assert.ok(error instanceof VmapipeError)
      assert.equal(error.exitCode, 3)
      assert.match(error.line, /the parent of '.*night1\.vmi' was not found: [0-9a-f-]{36} of 2023-/)
      return true
    })
    assert.deepEqual(
      readdirSync(dir).filter((name) => name.startsWith('vm')),
      [],
    )
    await restore({ from: paths[2], into, parents: [join(dir, 'old')] })
    assertRestored(into, STATES[2])
  })

  test('not with another archive of the same uuid', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES.slice(0, 2))
    const other = tmpDir(t)
    await repack({ from: paths[0], to: join(other, 'full.vma'), leaveOut: ['drive-scsi1'] })
    rmSync(paths[0])
    renameSync(join(other, 'full.vma'), paths[0])
    await assert.rejects(restore({ from: paths[1], into: join(dir, 'vm') }), /is another archive, or was changed/)
  })

  test('with the damage of a parent named, and the rest whole', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES.slice(0, 3))
    const bytes = readFileSync(paths[0])
    bytes[12800 + 512 + 5000] ^= 1
    writeFileSync(paths[0], bytes)
    const error = await restore({ from: paths[2], into: join(dir, 'vm') }).then(
      () => assert.fail('damage was not found'),
      (error) => error,
    )
    assert.ok(error instanceof DamagedArchive, String(error))
    assert.equal(error.exitCode, 3)
    assert.ok(error.lines.every((line) => line.includes('damage') || line.includes(paths[0]) || line.includes('drive')))
    assert.ok(
      error.lines.some((line) => line.includes(paths[0])),
      error.lines.join('\n'),
    )
    const names = readdirSync(join(dir, 'vm'))
    assert.ok(
      names.includes('disk-drive-scsi0.raw.damaged') || names.includes('disk-drive-scsi1.raw.damaged'),
      String(names),
    )
  })
})

suite('a chain is read in other ways', () => {
  test('by a config, with chain-source', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES, { method: 'zstd' })
    for (const order of ['archive', 'drive'] as const) {
      const into = join(dir, order)
      const stages = [chainSource({ from: paths[LAST], order }), zeroExpander({}), clusterWriter({ into })]
      await definePipeline(stages).run()
      assertRestored(into, STATES[LAST])
    }
    const alone = [source({ from: paths[LAST] }), decompressor({}), vmaDeframer({}), zeroExpander({})]
    const run = definePipeline([...alone, clusterWriter({ into: join(dir, 'alone') })]).run()
    await assert.rejects(run, /the archive is incremental: .*; in a config, read it with chain-source|incremental/)
    assert.ok(!readdirSync(dir).includes('alone'))
  })

  test('by a restore that serves guests at once', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES, { method: 'zstd', shuffled: true })
    const into = join(dir, 'vm')
    const live = await LiveRestore.open({ from: paths[LAST], into, socket: join(dir, 's') })
    await live.start()
    await live.done
    await live.stop()
    assertRestored(into, STATES[LAST])
  })

  test('with a parent that can only be read from front to back, which is unpacked first', async (t) => {
    const dir = tmpDir(t)
    const [full, one] = await makeChain(dir, STATES.slice(0, 2))
    // One frame without a map, as other programs make it.
    writeFileSync(`${full}.zst`, zstdCompressSync(readFileSync(full)))
    rmSync(full)
    const warnings: string[] = []
    await restore({ from: one, into: join(dir, 'vm'), buffer: 24 << 20, warn: (message) => warnings.push(message) })
    assertRestored(join(dir, 'vm'), STATES[1])
  })
})

suite('a chain is made one full archive', () => {
  for (const [method, to] of [
    ['none', 'week.vma'],
    ['zstd', 'week.vma.zst'],
  ] as const) {
    test(`that any reader takes (${to})`, async (t) => {
      const dir = tmpDir(t)
      const paths = await makeChain(dir, STATES, { method, shuffled: true })
      const result = await repack({ from: paths[LAST], to: join(dir, to) })
      assert.equal(result.manifest.record?.parent, null)
      assert.match(result.manifest.record?.full ?? '', /^made of night5.vmi and the 5 archives before it$/)
      for (const path of paths) rmSync(path)
      await restore({ from: join(dir, to), into: join(dir, 'vm') })
      assertRestored(join(dir, 'vm'), STATES[LAST])
      // Header version 1, which the real tool reads.
      if (method === 'none') assert.equal(readFileSync(join(dir, to)).readUInt32BE(4), 1)
    })
  }

  test('in which the frames of an archive are decoded a few times, and not for each of its clusters', async (t) => {
    const dir = tmpDir(t)
    const nights = interleaved(8, 60)
    const paths = await makeChain(dir, nights, { method: 'zstd', frame: (4 << 20) + 4096 })
    const frames = zstdFrames()
    const { decode } = frames
    let decoded = 0
    t.mock.method(frames, 'decode', (frame: Buffer, content: Buffer) => {
      if (content.length > 2 ** 20) decoded++
      return decode(frame, content)
    })
    const result = await repack({ from: paths.at(-1)!, to: join(dir, 'week.vma'), threads: 2 })
    assert.equal(result.manifest.drives.length, 1)
    assert.ok(decoded < 60, `${decoded} frames were decoded`)
    await restore({ from: join(dir, 'week.vma'), into: join(dir, 'vm') })
    assertRestored(join(dir, 'vm'), nights.at(-1)!)
  })

  test('not if a night is damaged, which is named', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, interleaved(3, 20), { method: 'zstd' })
    const bytes = readFileSync(paths[2])
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(paths[2], bytes)
    await assert.rejects(repack({ from: paths[3], to: join(dir, 'week.vma') }), (error) => {
      assert.ok(error instanceof VmapipeError)
      assert.equal(error.code, 'DAMAGED')
      assert.ok(error.line.includes(paths[2]), error.line)
      return true
    })
    assert.ok(!readdirSync(dir).includes('week.vma'))
  })
})

/** A drive of which each night changes every so many clusters, beside those of the other nights. */
function interleaved(nights: number, changed: number): State[] {
  const image = randomBytes((nights + 1) * changed * C)
  const made = [{ 'drive-scsi0': image }]
  for (let night = 1; night <= nights; night++) {
    const next = Buffer.from(made[night - 1]['drive-scsi0'])
    for (let at = night * C; at < next.length; at += (nights + 1) * C) next[at] ^= 255
    made.push({ 'drive-scsi0': next })
  }
  return made
}
