import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BLOCK_SIZE, CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { ClusterHasher, compiledHasher, portableBlake3, storedHashes } from '../../../src/formats/vma/cluster-hash.ts'
import { seeded } from '../../support/random.ts'

const portable = new ClusterHasher(await portableBlake3())
const compiled = compiledHasher()

/** The input of the official test vectors: 0, 1, ... 250, 0, 1, ... */
function vectorInput(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, at) => at % 251))
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

for (const [name, hasher] of Object.entries({ 'compiled code': compiled, WebAssembly: portable })) {
  if (hasher === null) continue
  describe(`hashes of clusters by ${name}`, () => {
    test('are BLAKE3, cut to 16 bytes', () => {
      assert.equal(hex(hasher.digest(vectorInput(0))), 'af1349b9f5f9a1a6a0404dea36dcc949')
      assert.equal(hex(hasher.digest(vectorInput(1024))), '42214739f095a406f3fc83deb889744a')
      assert.equal(hex(hasher.digest(vectorInput(102400))), 'bc3e3d41a1146b069abffad3c0d44860')
    })

    test('are of the stored blocks, and of the mask unless it is full', () => {
      const data = vectorInput(CLUSTER_SIZE + 2 * BLOCK_SIZE)
      const hashes = hasher.hashes([0xffff, 0, 0b1000000000100], [data])
      const rest = Buffer.concat([data.subarray(CLUSTER_SIZE), Buffer.of(0b10000, 0b100)])
      assert.deepEqual(
        Buffer.from(hashes),
        Buffer.concat([hasher.digest(data.subarray(0, CLUSTER_SIZE)), Buffer.alloc(16), hasher.digest(rest)]),
      )
      assert.deepEqual(
        Buffer.from(storedHashes([1, 0, 1], hashes)),
        Buffer.concat([hashes.subarray(0, 16), hashes.subarray(32)]),
      )
    })

    test('do not depend on how the blocks are cut into views', () => {
      const random = seeded(5)
      const data = vectorInput(3 * CLUSTER_SIZE + BLOCK_SIZE)
      const masks = [0xffff, 0xffff, 0x8000, 0, 0xffff]
      const views: Buffer[] = []
      for (let at = 0; at < data.length; ) {
        const length = Math.floor(random() * 30_000)
        views.push(data.subarray(at, at + length))
        at += length
      }
      assert.deepEqual(hasher.hashes(masks, views), hasher.hashes(masks, [data]))
    })
  })
}
