import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { openArchive } from '../../src/operations/open-archive.ts'
import { patchyImage } from '../access/made-archive.ts'
import { makeChain, type State, states } from '../support/chain.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'

const C = 65536

async function assertReads(path: string, state: State): Promise<void> {
  const archive = await openArchive(path)
  try {
    assert.deepEqual(new Set(archive.manifest.drives.map(({ name }) => name)), new Set(Object.keys(state)))
    for (const [name, image] of Object.entries(state)) {
      const drive = archive.drive(name)
      const chunks: Buffer[] = []
      for await (const chunk of drive.chunks(0, drive.size)) {
        chunks.push(...chunk.buffers.map((part) => Buffer.from(part)))
        chunk.release()
      }
      assert.ok(Buffer.concat(chunks).equals(image), `${name} in order`)
      const random = seeded(image.length)
      for (let round = 0; round < 50; round++) {
        const offset = Math.floor(random() * (image.length - 1))
        const bytes = Buffer.alloc(Math.min(image.length - offset, Math.ceil(random() * 150_000)))
        await drive.read(bytes, offset)
        assert.ok(bytes.equals(image.subarray(offset, offset + bytes.length)), `${name} at ${offset}`)
      }
      for await (const { offset, length, zero } of drive.map(0, drive.size))
        if (zero) assert.ok(image.subarray(offset, offset + length).every((byte) => byte === 0))
    }
  } finally {
    await archive.close()
  }
}

suite('a chain of archives', () => {
  for (const method of ['none', 'zstd', 'lz4'] as const) {
    test(`gives each cluster from the newest archive that has it (${method})`, async (t) => {
      const all = states(patchyImage(40 * C + 1000, 3), patchyImage(25 * C, 4))
      const paths = await makeChain(tmpDir(t), all, { method, frame: 256 << 10, shuffled: method === 'lz4' })
      for (const [depth, path] of paths.entries()) await assertReads(path, all[depth])
    })
  }

  test('is found whatever its files are called', async (t) => {
    const folder = tmpDir(t)
    const all = states(patchyImage(10 * C, 3), patchyImage(5 * C, 4)).slice(0, 3)
    const [full, one, two] = await makeChain(folder, all, { method: 'zstd' })
    renameSync(full, join(folder, 'a'))
    renameSync(one, join(folder, 'zz.bin'))
    await assertReads(two, all[2])
  })
})
