import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ArchiveHashes } from '../../src/access/archive-hashes.ts'
import { type OpenFile, openFile } from '../../src/access/open-file.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { Budget } from '../../src/core/budget.ts'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import { type Chunk, Manifest, Run } from '../../src/core/items.ts'
import { clusterHasher } from '../../src/formats/vma/cluster-hash.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { bytesThrough, manifestOf } from '../support/flow.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { archiveOf, type Hooks, type Making, patchyImage } from './made-archive.ts'

const timeout = 60_000
const hasher = await clusterHasher()

async function openedFile(t: Hooks, bytes: Uint8Array): Promise<OpenFile> {
  const path = join(tmpDir(t), 'a.vma')
  writeFileSync(path, bytes)
  const file = await openFile(path, { budget: new Budget(64 << 20), threads: 2, warn: () => {}, keys: new Keyring() })
  assert.ok(typeof file !== 'string')
  t.after(() => file.close())
  return file
}

/** The hashes of all clusters of an image, and their states in one letter each. */
function expected(image: Buffer): { hashes: Buffer; states: string } {
  const hashes: Uint8Array[] = []
  let states = ''
  for (let at = 0; at < image.length; at += CLUSTER_SIZE) {
    const bytes = image.subarray(at, at + CLUSTER_SIZE)
    const blocks: Buffer[] = []
    let mask = 0
    for (let block = 0; block * BLOCK_SIZE < bytes.length; block++) {
      const part = bytes.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE)
      if (part.every((byte) => byte === 0)) continue
      mask |= 1 << block
      blocks.push(Buffer.concat([part], BLOCK_SIZE))
    }
    hashes.push(hasher.hashes([mask], blocks))
    states += mask === 0 ? 'z' : 's'
  }
  return { hashes: Buffer.concat(hashes), states }
}

function statesOf(hashes: ArchiveHashes, drive: number, first: number, count: number): string {
  return [...hashes.states(drive, first, count)].map(({ state, count }) => state[0].repeat(count)).join('')
}

const IMAGES = [patchyImage(9_000_100, 1), patchyImage(3 * CLUSTER_SIZE + 512, 2)]

describe('the hashes of an archive', { timeout }, () => {
  const forms: Record<string, Making> = {
    'in order': {},
    'in no order': { random: seeded(3) },
    'without an index': { index: false, random: seeded(4) },
    'compressed, in small frames': { method: 'zstd', frame: 65536, random: seeded(5) },
    'compressed by lz4, without a map': { method: 'lz4', map: false },
  }
  for (const [form, making] of Object.entries(forms)) {
    test(`${form} are those of its clusters, read from anywhere`, async (t) => {
      const hashes = await ArchiveHashes.of(await openedFile(t, await archiveOf(IMAGES, making)))
      assert.ok(hashes !== null)
      const random = seeded(6)
      for (const [index, image] of IMAGES.entries()) {
        const all = expected(image)
        const clusters = clusterCount(image.length)
        for (let turn = 0; turn < 30; turn++) {
          const first = turn === 0 ? 0 : Math.floor(random() * clusters)
          const count = turn === 0 ? clusters : Math.ceil(random() * (clusters - first))
          assert.deepEqual(
            Buffer.from(await hashes.read(index + 1, first, count)),
            all.hashes.subarray(first * 16, (first + count) * 16),
          )
          assert.equal(statesOf(hashes, index + 1, first, count), all.states.slice(first, first + count))
        }
      }
    })
  }

  test('are not there without checksums, with CRC-32, or if the archive was cut', async (t) => {
    assert.equal(await ArchiveHashes.of(await openedFile(t, await archiveOf(IMAGES, { checksums: false }))), null)
    const manifest = manifestOf(CLUSTER_SIZE)
    const run = new Run(1, 0, 1, [Buffer.alloc(CLUSTER_SIZE, 1)])
    const chunks = await bytesThrough('clusters', [manifest, run], [vmaFramer({ hashes: false })])
    const plain = Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
    assert.equal(await ArchiveHashes.of(await openedFile(t, plain)), null)
    const whole = await archiveOf(IMAGES)
    assert.equal(await ArchiveHashes.of(await openedFile(t, whole.subarray(0, whole.length / 2))), null)
  })

  test('of many groups are read from every one of them, and the index of an incremental archive says what is absent', async (t) => {
    const count = 40_000
    const blocks = Array.from({ length: 7 }, (_, index) => Buffer.alloc(4096, index + 1))
    const runs = Array.from({ length: count / 4 }, (_, index) => {
      const masks = Uint16Array.of(1, 0x10, 0, 1)
      return new Run(1, index * 4, 4, [blocks[index % 7], blocks[0], blocks[1]], masks)
    })
    const parent = { uuid: new Uint8Array(16), end: new Uint8Array(16), ctime: 1 }
    const { drives, ...rest } = manifestOf((count + 100) * CLUSTER_SIZE)
    const manifest = new Manifest({ ...rest, drives, record: { parent, guest: null, full: null } })
    for (const stages of [[vmaFramer()], [vmaFramer(), compressor()]]) {
      const chunks = await bytesThrough('clusters', [manifest, ...runs], stages)
      const file = await openedFile(t, Buffer.concat(chunks.flatMap(({ buffers }: Chunk) => buffers)))
      const hashes = await ArchiveHashes.of(file)
      assert.ok(hashes !== null)
      const states = statesOf(hashes, 1, 0, count + 100)
      assert.equal(states, 'sszs'.repeat(count / 4) + 'a'.repeat(100))
      for (const first of [0, 4 * 5461, 21_000, 39_000, 10]) {
        const read = await hashes.read(1, first, 1000)
        for (let at = 0; at < 1000; at++) {
          const run = runs[Math.floor((first + at) / 4)]
          const wanted = hasher.hashes(run.masks!, run.blocks).subarray(((first + at) % 4) * 16)
          const isSame = Buffer.compare(read.subarray(at * 16, (at + 1) * 16), wanted.subarray(0, 16)) === 0
          assert.ok(isSame, `${at} behind ${first}`)
        }
      }
    }
  })

  test('that are damaged are refused', async (t) => {
    const image = patchyImage(30_000_000, 9)
    const archive = await archiveOf([image])
    const at = archive.lastIndexOf(Buffer.from('5652030000000000', 'hex')) - 40
    assert.equal(archive.toString('latin1', at, at + 4), 'VMAE')
    archive[at + 100] ^= 1
    const hashes = await ArchiveHashes.of(await openedFile(t, archive))
    await assert.rejects(hashes!.read(1, 0, clusterCount(image.length)), { code: 'DAMAGED', where: { offset: at } })
  })
})
