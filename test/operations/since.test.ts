import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type BackupOptions, backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { tmpDir } from '../support/tmp.ts'

/** Disks `a` and `b` of 40 clusters, all of them data. */
function makeDisks(t: TestContext) {
  const dir = tmpDir(t)
  const paths: Record<string, string> = {}
  for (const [at, name] of ['a', 'b'].entries()) {
    paths[name] = join(dir, `${name}.raw`)
    const image = Buffer.alloc(40 * CLUSTER_SIZE)
    for (let word = 0; word < image.length; word += 4) image.writeUInt32LE(Math.imul(word + at, 2654435761) >>> 0, word)
    writeFileSync(paths[name], image)
  }
  const { a, b } = paths as { a: string; b: string }
  const change = (path: string, cluster: number) => {
    const image = readFileSync(path)
    image[cluster * CLUSTER_SIZE] ^= 0xff
    writeFileSync(path, image)
  }
  const warnings: string[] = []
  const run = (options: Partial<BackupOptions> & { to: string }) =>
    backup({ drives: { a }, warn: (message) => warnings.push(message), ...options, to: join(dir, options.to) })
  /** The archive gives disk `a` as it is now. */
  const assertWhole = async (archive: string) => {
    const into = join(dir, `${archive}-restored`)
    await restore({ from: join(dir, archive), into })
    assert.ok(readFileSync(join(into, 'disk-a.raw')).equals(readFileSync(a)))
  }
  return { dir, a, b, change, run, warnings, assertWhole }
}

const stored = ({ drives }: { drives: { stored: number }[] }) => drives.map((drive) => drive.stored / CLUSTER_SIZE)

suite('a backup since a parent', { timeout: 120_000 }, () => {
  test('may have a parent without hashes: its data is read once, and they are kept', async (t) => {
    const { dir, a, change, run, warnings, assertWhole } = makeDisks(t)
    await run({ to: 'old.vma.zst', checksums: false, index: false })
    change(a, 7)
    const since = join(dir, 'old.vma.zst')
    assert.deepEqual(stored(await run({ to: 'one.vmi', since })), [1])
    assert.equal(warnings.filter((line) => /has no hashes of its clusters/.test(line)).length, 1)
    assert.ok(existsSync(`${since}.hashes`))
    assert.deepEqual(stored(await run({ to: 'two.vmi', since })), [1])
    assert.equal(warnings.filter((line) => /has no hashes of its clusters/.test(line)).length, 1)
    await assertWhole('two.vmi')
  })

  test('may have a parent that comes through a pipe', async (t) => {
    const { dir, a, change, run, assertWhole } = makeDisks(t)
    await run({ to: 'full.vma.lz4' })
    change(a, 0)
    const since = `exec:cat '${join(dir, 'full.vma.lz4')}'`
    assert.deepEqual(stored(await run({ to: 'night.vmi.gz', since })), [1])
    await assertWhole('night.vmi.gz')
  })

  test('stores clusters again whose hashes are damaged', async (t) => {
    const { dir, a, change, run, warnings, assertWhole } = makeDisks(t)
    await run({ to: 'full.vma' })
    const since = join(dir, 'full.vma')
    const archive = readFileSync(since)
    // The first slot of a hash record.
    const record = archive.lastIndexOf(Buffer.from('5652030000000000', 'hex'))
    assert.ok(record > 0)
    archive[record + 20] ^= 1
    writeFileSync(since, archive)
    change(a, 3)
    assert.deepEqual(stored(await run({ to: 'night.vmi', since })), [40])
    assert.ok(warnings.some((line) => /stored again, because the parent cannot tell of them/.test(line)))
    await assertWhole('night.vmi')
  })

  test('says which drives are new or have another size, in the record', async (t) => {
    const { dir, a, b, run, assertWhole } = makeDisks(t)
    await run({ to: 'full.vma' })
    truncateSync(a, 41 * CLUSTER_SIZE + 5)
    const since = join(dir, 'full.vma')
    const { manifest, drives } = await run({ to: 'night.vmi', since, drives: { a, b } })
    assert.deepEqual(manifest.record?.whole, {
      a: 'it was resized since the parent was made',
      b: 'the parent does not have it',
    })
    assert.deepEqual(
      drives.map(({ clusters }) => clusters),
      [2, 40],
    )
    await assertWhole('night.vmi')
  })

  test('is refused if the parent was cut, before a drive is opened', async (t) => {
    const { dir, run } = makeDisks(t)
    await run({ to: 'full.vma' })
    const since = join(dir, 'full.vma')
    truncateSync(since, 20 * CLUSTER_SIZE)
    await assert.rejects(run({ to: 'night.vmi', since, drives: { a: join(dir, 'none') } }), (error) => {
      assert.ok(error instanceof VmapipeError)
      assert.equal(error.exitCode, 3)
      assert.match(error.line, /the parent cannot be used: .*full\.vma': the archive was cut/)
      return true
    })
    assert.ok(!existsSync(join(dir, 'night.vmi')))
  })

  test('says in the record of a full archive why it is one', async (t) => {
    const { dir, run } = makeDisks(t)
    mkdirSync(join(dir, 'nas'))
    const { manifest, places } = await run({ to: 'nas/', since: 'auto', guest: 'vm1' })
    assert.equal(manifest.record?.guest, 'vm1')
    assert.match(manifest.record?.full ?? '', /^there is no archive of this guest in /)
    assert.match(places[0], /\/nas\/vm1-[-0-9]+T\d{6}Z\.vma\.zst$/)
  })
})
