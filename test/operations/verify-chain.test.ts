import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { repack } from '../../src/operations/repack.ts'
import { verifyChain, verifyWithParents } from '../../src/operations/verify-chain.ts'
import { patchyImage } from '../access/made-archive.ts'
import { makeChain, states } from '../support/chain.ts'
import { tmpDir } from '../support/tmp.ts'

const C = 65536
const STATES = states(patchyImage(30 * C + 1000, 3), patchyImage(9 * C, 4))
const LAST = STATES.length - 1

const named = (roots: { drive: string; root: string }[]) =>
  Object.fromEntries(roots.map(({ drive, root }) => [drive, root]))

suite('a chain is verified', { timeout: 60_000 }, () => {
  test('with roots that are those of any archive of the same disks', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES, { method: 'zstd', shuffled: true })
    const { roots, archives } = await verifyChain({ from: paths[LAST] })
    assert.deepEqual(
      archives.map(({ place }) => place),
      paths,
    )
    for (const { root } of roots) assert.match(root, /^[0-9a-f]{64}$/)
    const made = join(dir, 'week.vma')
    await repack({ from: paths[LAST], to: made })
    assert.deepEqual(named((await verifyChain({ from: made })).roots), named(roots))
    // Without hashes of their own, they are made of the data.
    const without = join(dir, 'without.vma')
    await repack({ from: made, to: without, checksums: false, index: false })
    assert.deepEqual(named((await verifyChain({ from: without })).roots), named(roots))
    const before = named((await verifyChain({ from: paths[LAST - 1] })).roots)
    assert.notEqual(before['drive-scsi2'], named(roots)['drive-scsi2'])
    assert.equal(before['drive-scsi1'], named(roots)['drive-scsi1'])
  })

  test('and damage of a parent is found, with the name of the archive', async (t) => {
    const [full, , two] = await makeChain(tmpDir(t), STATES.slice(0, 3))
    await verifyWithParents({ from: two })
    const bytes = readFileSync(full)
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(full, bytes)
    await verifyWithParents({ from: two })
    const error = await verifyChain({ from: two }).then(
      () => null,
      (error) => error,
    )
    assert.ok(error instanceof DamagedArchive, String(error))
    assert.ok(
      error.lines.some((line) => line.includes(full)),
      error.lines.join('\n'),
    )
  })

  test('alone, its parents must be there', async (t) => {
    const [full, , two] = await makeChain(tmpDir(t), STATES.slice(0, 3), { method: 'zstd' })
    rmSync(full)
    await assert.rejects(verifyWithParents({ from: two }), {
      code: 'DAMAGED',
      message: /the parent of '.*night1.vmi' was not found/,
    })
  })
})
