import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { BoundStage } from '../../src/core/stage.ts'
import { backup } from '../../src/operations/backup.ts'
import { cat } from '../../src/operations/cat.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { fault } from '../../src/stages/fault.ts'
import { joiner } from '../../src/stages/joiner.ts'
import { sink } from '../../src/stages/sink.ts'
import { source } from '../../src/stages/source.ts'
import { splitter } from '../../src/stages/splitter.ts'
import { vmapipe } from '../cli/cli.ts'
import { chunksOf } from '../support/bytes.ts'
import { tmpDir } from '../support/tmp.ts'

const limited = { timeout: 60_000 }
const SIZE = 300_000

const run = (...stages: BoundStage[]) => definePipeline(stages as never).run()

/** An archive in one file and the same in volumes. */
async function split(t: TestContext, compression: 'zstd' | 'none' = 'zstd') {
  const dir = tmpDir(t)
  const data = randomBytes(1_500_000)
  writeFileSync(join(dir, 'disk.raw'), data)
  const plain = join(dir, 'plain.vma')
  await backup({
    drives: { 'drive-scsi0': join(dir, 'disk.raw') },
    to: plain,
    compress: compression,
  })
  const to = join(dir, 'vm.vma')
  await run(source({ from: plain }), splitter({ to, size: SIZE }))
  return { dir, data, plain, to, first: `${to}.000` }
}

for (const compression of ['zstd', 'none'] as const) {
  test(`every reader reads the volumes of an archive (${compression})`, limited, async (t) => {
    const { dir, data, plain, to, first } = await split(t, compression)
    const volumes = readdirSync(dir).filter((name) => /^vm\.vma\.\d{3}$/.test(name))
    assert.ok(volumes.length >= 5)
    assert.ok(volumes.every((name) => statSync(join(dir, name)).size <= SIZE))
    const joined = execFileSync('sh', ['-c', `cat '${to}'.0*`], { maxBuffer: 64 << 20 })
    assert.ok(joined.equals(readFileSync(plain)))
    assert.equal((await verify({ from: first })).drives.length, 1)
    assert.equal((await readManifest({ from: first })).drives[0].name, 'drive-scsi0')
    await restore({ from: first, into: join(dir, 'out') })
    const [image] = readdirSync(join(dir, 'out'))
    assert.ok(readFileSync(join(dir, 'out', image)).equals(data))
    const archive = await openArchive(first)
    await archive.close()
    await cat({ from: first, drive: 'drive-scsi0', to: join(dir, 'cat.raw') } as never)
    assert.ok(readFileSync(join(dir, 'cat.raw')).equals(data))
    await run(joiner({ from: first }), sink({ to: join(dir, 'again.vma') }))
    assert.ok(readFileSync(join(dir, 'again.vma')).equals(readFileSync(plain)))
  })
}

test('a volume that is missing, short, swapped or foreign is named, with exit code 3', limited, async (t) => {
  const { dir, to, first } = await split(t)
  const other = await split(t)
  const [one, two] = [`${to}.001`, `${to}.002`]
  const damages: [() => void, RegExp][] = [
    [() => rmSync(one), /volume '.*vm\.vma\.001' is missing/],
    [() => truncateSync(one, SIZE - 1), /volume '.*vm\.vma\.001' is short: it has 299999 bytes of 300000/],
    [() => copyFileSync(`${other.to}.001`, one), /volume '.*vm\.vma\.001' is not the one that was written/],
    [() => writeFileSync(one, 'x', { flag: 'a' }), /volume '.*vm\.vma\.001' is not the one that was written/],
    [
      () => {
        renameSync(one, `${one}x`)
        renameSync(two, one)
        renameSync(`${one}x`, two)
      },
      /volume '.*vm\.vma\.001' is not the one that was written/,
    ],
  ]
  execFileSync('cp', ['-r', dir, `${dir}-kept`])
  t.after(() => rmSync(`${dir}-kept`, { recursive: true }))
  for (const [damage, message] of damages) {
    damage()
    await assert.rejects(verify({ from: first }), { exitCode: 3, message })
    await assert.rejects(openArchive(first), { exitCode: 3, message })
    execFileSync('sh', ['-c', `cp '${dir}-kept'/vm.vma.* '${dir}'`])
  }
  rmSync(first)
  const { code, stderr } = await vmapipe(['verify', first])
  assert.equal(code, 3)
  assert.match(stderr, /volume '.*vm\.vma\.000' is missing/)
})

test('a later volume, and a list that is damaged, are errors that say so', limited, async (t) => {
  const { to, first } = await split(t)
  await assert.rejects(verify({ from: `${to}.001` }), { code: 'USAGE', hint: /name the first, '.*\.000'/ })
  truncateSync(`${to}.volumes`, 40)
  await assert.rejects(verify({ from: first }), { code: 'DAMAGED', message: /not a whole list of volumes/ })
})

test('volumes of split(1), which have no list, are joined by name, and a gap is named', limited, async (t) => {
  const { dir, plain } = await split(t)
  spawnSync('split', ['-b', String(SIZE), '-d', '-a', '3', plain, join(dir, 'other.')])
  const from = join(dir, 'other.000')
  await run(joiner({ from }), sink({ to: join(dir, 'joined') }))
  assert.ok(readFileSync(join(dir, 'joined')).equals(readFileSync(plain)))
  rmSync(join(dir, 'other.002'))
  await assert.rejects(run(joiner({ from }), sink({ to: join(dir, 'x') })), {
    exitCode: 3,
    message: /other\.002' is missing/,
  })
  await assert.rejects(run(joiner({ from: plain }), sink({ to: join(dir, 'x') })), { code: 'USAGE' })
})

test('an archive whose name ends in .000 and that has no list is one file, as ever', limited, async (t) => {
  const { dir, plain } = await split(t)
  for (const name of ['night.000', 'night.001']) copyFileSync(plain, join(dir, name))
  for (const name of ['night.000', 'night.001'])
    assert.equal((await verify({ from: join(dir, name) })).drives.length, 1)
})

test(
  'a run that fails leaves no volume, and one that exists is refused before anything is written',
  limited,
  async (t) => {
    const dir = tmpDir(t)
    const to = join(dir, 'vm')
    const data = [randomBytes(500_000)]
    await assert.rejects(run(chunksOf(data), fault({ 'at-byte': 400_000 }), splitter({ to, size: '100KB' })), {
      stage: 'fault',
    })
    assert.deepEqual(readdirSync(dir), [])
    writeFileSync(`${to}.004`, 'old')
    await assert.rejects(run(chunksOf(data), splitter({ to, size: '100KB' })), { message: /vm\.004' exists/ })
    assert.deepEqual(readdirSync(dir), ['vm.004'])
  },
)

test('volumes that are replaced by fewer leave none of the old ones', limited, async (t) => {
  const dir = tmpDir(t)
  const to = join(dir, 'vm')
  await run(chunksOf([randomBytes(500_000)]), splitter({ to, size: '100KB' }))
  await run(chunksOf([randomBytes(150_000)]), splitter({ to, size: '100KB', force: true }))
  assert.deepEqual(readdirSync(dir), ['vm.000', 'vm.001', 'vm.volumes'])
  await run(joiner({ from: `${to}.000` }), sink({ to: '/dev/null' }))
  await run(chunksOf([]), splitter({ to, size: '100KB', force: true }))
  assert.deepEqual(readdirSync(dir), ['vm.000', 'vm.volumes'])
})

test('if one volume cannot get its name, none has one', limited, async (t) => {
  const dir = tmpDir(t)
  const to = join(dir, 'vm')
  const blocking = (async function* () {
    yield randomBytes(250_000)
    writeFileSync(`${to}.000`, 'of somebody else')
    yield randomBytes(1000)
  })()
  await assert.rejects(run(chunksOf(blocking), splitter({ to, size: '100KB' })), { message: /has appeared meanwhile/ })
  assert.deepEqual(readdirSync(dir), ['vm.000'])
  assert.equal(readFileSync(`${to}.000`, 'utf8'), 'of somebody else')
})

test('what is no file, and a size that needs too many volumes, are refused', limited, async (t) => {
  const to = join(tmpDir(t), 'vm')
  await assert.rejects(run(chunksOf([]), splitter({ to: 'ssh://nas/x', size: '1M' })), { code: 'USAGE' })
  assert.throws(() => splitter({ to, size: 10 }), { code: 'USAGE', message: /at least 64/ })
})
