import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ArchiveHashes } from '../../src/access/archive-hashes.ts'
import { openFile } from '../../src/access/open-file.ts'
import { hashesOf } from '../../src/chain/kept-hashes.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { Budget } from '../../src/core/budget.ts'
import { clusterCount } from '../../src/core/geometry.ts'
import { archiveOf, type Hooks, type Making, patchyImage } from '../access/made-archive.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'

const IMAGES = [patchyImage(40_000_100, 1), patchyImage(300_000, 2)]
const BUFFER = 64 << 20

async function opened(t: Hooks, path: string) {
  const file = await openFile(path, { budget: new Budget(BUFFER), threads: 2, warn: () => {}, keys: new Keyring() })
  assert.ok(typeof file !== 'string')
  t.after(() => file.close())
  return file
}

/** All hashes of the archive at this path, and the warnings. */
async function hashesAt(t: Hooks, path: string): Promise<{ all: Buffer | null; warnings: string[] }> {
  const warnings: string[] = []
  const warn = (message: string) => warnings.push(message)
  const hashes = await hashesOf(await opened(t, path), { place: path, keys: new Keyring(), buffer: BUFFER, warn })
  if (hashes === null) return { all: null, warnings }
  t.after(() => hashes.close())
  const parts = await Promise.all(IMAGES.map((image, index) => hashes.read(index + 1, 0, clusterCount(image.length))))
  return { all: Buffer.concat(parts), warnings }
}

async function expected(t: Hooks): Promise<Buffer> {
  const path = join(tmpDir(t), 'with.vma')
  writeFileSync(path, await archiveOf(IMAGES))
  const own = await ArchiveHashes.of(await opened(t, path))
  return Buffer.concat(await Promise.all(IMAGES.map((image, at) => own!.read(at + 1, 0, clusterCount(image.length)))))
}

/** A folder for caches of the test's own. */
function ownCache(t: Hooks): string {
  const before = process.env.XDG_CACHE_HOME
  const folder = join(tmpDir(t), 'cache')
  process.env.XDG_CACHE_HOME = folder
  t.after(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = before
  })
  return join(folder, 'vmapipe')
}

describe('an archive without hashes', { timeout: 240_000 }, () => {
  const forms: Record<string, Making> = {
    plain: { checksums: false, index: false },
    compressed: { checksums: false, index: false, method: 'zstd', map: false, random: seeded(3) },
  }
  for (const [form, making] of Object.entries(forms)) {
    test(`${form} is read once, and its hashes are kept beside it`, async (t) => {
      const path = join(tmpDir(t), 'a.vma')
      writeFileSync(path, await archiveOf(IMAGES, making))
      const first = await hashesAt(t, path)
      assert.deepEqual(first.all, await expected(t))
      assert.match(first.warnings.join('\n'), /^[^\n]*it is read once[^\n]*$/)
      const kept = readFileSync(`${path}.hashes`)
      const second = await hashesAt(t, path)
      assert.deepEqual(second, { all: first.all, warnings: [] })
      assert.ok(readFileSync(`${path}.hashes`).equals(kept))
    })
  }

  test('is not taken for another one of its name, nor for what it was before it changed', async (t) => {
    const path = join(tmpDir(t), 'a.vma')
    writeFileSync(path, await archiveOf(IMAGES, { checksums: false, index: false }))
    const { all } = await hashesAt(t, path)
    // The same clusters in another order: the archive has the same size and uuid.
    writeFileSync(path, await archiveOf(IMAGES, { checksums: false, index: false, random: seeded(8) }))
    utimesSync(path, 1, 1)
    const other = await hashesAt(t, path)
    assert.match(other.warnings[0], /hashes' is not used: .*another archive/)
    assert.deepEqual(other.all, all)
    utimesSync(path, 2, 2)
    assert.match((await hashesAt(t, path)).warnings[0], /the archive has changed/)
  })

  test('has its hashes in the folder for caches if they cannot be beside it', async (t) => {
    const cache = ownCache(t)
    const path = join(tmpDir(t), 'a.vma')
    writeFileSync(path, await archiveOf(IMAGES, { checksums: false }))
    mkdirSync(`${path}.hashes`)
    const first = await hashesAt(t, path)
    assert.deepEqual(first.all, await expected(t))
    assert.equal(readdirSync(cache).length, 1)
    assert.ok(first.warnings.some((line) => /not kept in '.*a\.vma\.hashes'/.test(line)))
    const second = await hashesAt(t, path)
    assert.deepEqual(second.all, first.all)
    assert.ok(!second.warnings.some((line) => /is read once/.test(line)))
  })

  test('that is damaged has none, and nothing is kept', async (t) => {
    const cache = ownCache(t)
    const path = join(tmpDir(t), 'a.vma')
    const bytes = await archiveOf(IMAGES, { checksums: false, index: false, method: 'zstd' })
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(path, bytes)
    const { all, warnings } = await hashesAt(t, path)
    assert.equal(all, null)
    assert.match(warnings.at(-1)!, /hashes are not kept/)
    assert.ok(!existsSync(`${path}.hashes`) && !existsSync(join(cache, 'vmapipe')))
  })

  test('refuses a page of the kept hashes that is damaged', async (t) => {
    const path = join(tmpDir(t), 'a.vma')
    writeFileSync(path, await archiveOf(IMAGES, { checksums: false }))
    await hashesAt(t, path)
    const kept = readFileSync(`${path}.hashes`)
    kept.fill(0, 4096 + 1000, 4096 + 1100)
    writeFileSync(`${path}.hashes`, kept)
    await assert.rejects(hashesAt(t, path), { code: 'DAMAGED', message: /the file of hashes is damaged/ })
  })
})
