import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, hash } from 'node:crypto'
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { listLines } from '../../src/cli/commands/list.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { clusterSource } from '../../src/stages/cluster-source.ts'
import { sink } from '../../src/stages/sink.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { type GoldenArchive, golden, goldenGenerator, goldenPath, needsGolden } from '../support/golden.ts'
import { tmpDir } from '../support/tmp.ts'

/** Its only drive has a name too long for a file. */
const LONG_NAME = 'devname508'

function sha256(path: string): string {
  const sum = createHash('sha256')
  const file = openSync(path, 'r')
  const buffer = Buffer.allocUnsafeSlow(1 << 20)
  for (let read = readSync(file, buffer); read > 0; read = readSync(file, buffer)) sum.update(buffer.subarray(0, read))
  closeSync(file)
  return sum.digest('hex')
}

/** What a restore into a folder must give: recorded file by file, or, of 254 of them, told from the inputs. */
function expectedFiles({ layout, drives, extracted }: GoldenArchive): Record<string, { size: number; sha256: string }> {
  if (!('allIdentical' in extracted)) return extracted
  return Object.fromEntries([
    ...layout.configs.map(({ name, size, sha256 }) => [name, { size, sha256 }]),
    ...drives.map(({ name, inputSize, inputSha256 }) => [`disk-${name}.raw`, { size: inputSize, sha256: inputSha256 }]),
  ])
}

describe('archives of the real tool', needsGolden, () => {
  for (const [name, archive] of golden) {
    test(`${name} lists, verifies and restores as it did there`, { timeout: 120_000 }, async (t) => {
      const from = goldenPath(name)
      const lines = listLines(await readManifest({ from }))
      assert.equal(lines.map((line) => `${line}\n`).join(''), archive.list)
      const { drives } = await verify({ from })
      assert.equal(drives.length, archive.drives.length)
      if (name === LONG_NAME) return
      const into = join(tmpDir(t), 'out')
      await restore({ from, into })
      const expected = expectedFiles(archive)
      assert.deepEqual(readdirSync(into).sort(), Object.keys(expected).sort())
      for (const [file, { size, sha256: sum }] of Object.entries(expected)) {
        assert.equal(statSync(join(into, file)).size, size, file)
        assert.equal(sha256(join(into, file)), sum, file)
      }
    })

    // One of 4 GiB was hashed above, and takes its time.
    if (archive.drives.length === 0 || archive.drives.length > 10 || archive.drives[0].inputSize > 2 ** 30) continue
    test(`${name} restores drive by drive where the user says`, { timeout: 120_000 }, async (t) => {
      const dir = tmpDir(t)
      const drives = archive.drives.map(({ name, devId }) => [name, join(dir, `drive ${devId}`)] as const)
      await restore({ from: goldenPath(name), drives: Object.fromEntries(drives) })
      for (const [index, [, path]] of drives.entries()) {
        assert.equal(sha256(path), archive.drives[index].inputSha256, path)
      }
      assert.equal(readdirSync(dir).length, drives.length)
    })
  }

  test('a drive whose name is too long for a file is refused in a folder, by a line that says what to do', async (t) => {
    const into = join(tmpDir(t), 'out')
    await assert.rejects(restore({ from: goldenPath(LONG_NAME), into }), (error: any) => {
      assert.equal(error.code, 'FAILED')
      assert.match(error.line, /^cluster-writer: 'disk-n+…' is too long for the name of a file; .*--drive NAME=TARGET/)
      return true
    })
    assert.throws(() => statSync(into), { code: 'ENOENT' })
  })
})

describe('the same drives as the real tool had', needsGolden, () => {
  const inputs = tmpDir({ after })

  before(() => {
    assert.equal(spawnSync(process.execPath, [goldenGenerator(), inputs]).status, 0)
  })

  // With several drives the order of clusters is the reader's choice, and the real tool's depends on its timing.
  for (const [name, archive] of golden) {
    if (archive.drives.length > 1) continue
    test(`make the archive ${name} byte for byte`, { timeout: 120_000 }, async (t) => {
      const to = join(tmpDir(t), 'a.vma')
      const { uuid, ctime } = archive.layout
      const drives = clusterSource({
        drives: Object.fromEntries(archive.drives.map(({ name, input }) => [name, join(inputs, input)])),
        configs: Object.fromEntries(archive.configs.map((config) => [config, join(inputs, config)])),
        uuid: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
        ctime,
        // The real tool takes names that no restore could make files of.
        anyNames: true,
      })
      await definePipeline([drives, zeroElider(), vmaFramer({ checksums: false, index: false }), sink({ to })]).run()
      const bytes = readFileSync(to)
      assert.equal(bytes.length, archive.size)
      assert.equal(hash('sha256', bytes), archive.sha256)
    })
  }
})
