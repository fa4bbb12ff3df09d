import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { ClusterHashing, clusterHashing } from '../../../src/codecs/hashing/cluster-hashing.ts'
import { HashWorkers } from '../../../src/codecs/hashing/hash-workers.ts'
import { Budget } from '../../../src/core/budget.ts'
import { BLOCK_SIZE, CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { clusterHasher } from '../../../src/formats/vma/cluster-hash.ts'
import { addresses } from '../../../src/system/addresses.ts'
import { SharedMemory } from '../../../src/system/shared-memory.ts'
import { until } from '../../storage/archive/processes.ts'
import { seeded } from '../../support/random.ts'
import { tmpDir } from '../../support/tmp.ts'

const timeout = 120_000
const hasher = await clusterHasher()
const skip = addresses() === null && 'koffi cannot be loaded'

/** Clusters with blocks at random places, in views that are cut at random places of the memory. */
function someClusters(memory: Buffer, seed: number) {
  const random = seeded(seed)
  for (let at = 0; at < memory.length; at += 4) memory.writeUInt32LE(Math.floor(random() * 2 ** 32), at)
  const masks: number[] = []
  const blocks: Uint8Array[] = []
  for (let at = 0; at + CLUSTER_SIZE <= memory.length; at += CLUSTER_SIZE) {
    const full = random() < 0.5
    masks.push(full ? 0xffff : 0b0000_0111_0000_0001)
    if (full) blocks.push(memory.subarray(at, at + CLUSTER_SIZE))
    else blocks.push(memory.subarray(at, at + BLOCK_SIZE), memory.subarray(at + BLOCK_SIZE, at + 4 * BLOCK_SIZE))
  }
  return { masks, blocks, leases: [] }
}

async function ready(workers: HashWorkers): Promise<void> {
  workers.begin()
  await until(() => workers.isReady, 'a thread that hashes')
}

/** A worker that is not ours: it answers `answers` questions rightly, and then does this. */
function strangeWorker(folder: string, answers: number, then: string): URL {
  const file = join(folder, 'strange-worker.mjs')
  const ours = (path: string) => JSON.stringify(new URL(`../../../src/${path}`, import.meta.url).href)
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads'
     import { addresses } from ${ours('system/addresses.ts')}
     import { clusterHasher } from ${ours('formats/vma/cluster-hash.ts')}
     const hasher = await clusterHasher()
     let left = ${answers}
     parentPort.on('message', ({ id, masks, views }) => {
       if (left-- === 0) { ${then} }
       const blocks = views.map(({ from, length, ...place }) => addresses().memoryAt(place).subarray(from, from + length))
       parentPort.postMessage({ id, hashes: hasher.hashes(masks, blocks) })
     })`,
  )
  return pathToFileURL(file)
}

describe('threads that hash', { timeout, skip }, () => {
  test('give the same hashes as the event loop, of memory of any kind', async () => {
    const workers = new HashWorkers(hasher)
    await ready(workers)
    const bytes = 20 * CLUSTER_SIZE
    const shared = SharedMemory.create(bytes)
    const kinds = [
      Buffer.allocUnsafeSlow(bytes),
      Buffer.from(new SharedArrayBuffer(bytes)),
      ...(shared === null ? [] : [shared.memory]),
    ]
    for (const [seed, memory] of kinds.entries()) {
      const clusters = someClusters(memory, seed + 1)
      const hashes = await workers.hashes(clusters)
      assert.deepEqual(Buffer.from(hashes), Buffer.from(hasher.hashes(clusters.masks, clusters.blocks)))
    }
    shared?.close()
  })

  test('keep the memory until they are done, and give it back', async () => {
    const workers = new HashWorkers(hasher)
    await ready(workers)
    const budget = new Budget(32 << 20)
    const answers = await Promise.all(
      Array.from({ length: 8 }, async (_, seed) => {
        const slab = await budget.take(20 * CLUSTER_SIZE)
        const clusters = { ...someClusters(slab.buffer, seed), leases: [slab] }
        const right = Buffer.from(hasher.hashes(clusters.masks, clusters.blocks))
        const hashes = workers.hashes(clusters)
        slab.release()
        assert.ok(budget.used > 0)
        return { right, hashes: await hashes }
      }),
    )
    for (const { right, hashes } of answers) assert.deepEqual(Buffer.from(hashes), right)
    assert.equal(budget.used, 0)
  })

  for (const [what, then] of [
    ['exits', 'process.exit(0)'],
    ['throws', 'throw new Error("no more")'],
  ] as const) {
    test(`if one ${what}, its clusters are hashed in the event loop, and no other begins`, async (t) => {
      const workers = new HashWorkers(hasher, { limit: 1, file: strangeWorker(tmpDir(t), 2, then) })
      await ready(workers)
      const budget = new Budget(32 << 20)
      for (let seed = 1; seed < 4; seed++) {
        const slab = await budget.take(4 * CLUSTER_SIZE)
        const clusters = { ...someClusters(slab.buffer, seed), leases: [slab] }
        const hashing = [workers.hashes(clusters), workers.hashes(clusters)]
        slab.release()
        for (const hashes of await Promise.all(hashing))
          assert.deepEqual(Buffer.from(hashes), Buffer.from(hasher.hashes(clusters.masks, clusters.blocks)))
        if (!workers.isReady) break
      }
      assert.equal(workers.isReady, false)
      assert.equal(budget.used, 0)
      workers.begin()
      const beside = new ClusterHashing(hasher, workers, 0)
      assert.equal(beside.isBeside, false)
    })
  }

  test('one that cannot read the memory is never asked again', async (t) => {
    const answer = 'return parentPort.postMessage({ id, hashes: new Uint8Array(16) })'
    const workers = new HashWorkers(hasher, { limit: 1, file: strangeWorker(tmpDir(t), 0, answer) })
    workers.begin()
    const file = pathToFileURL(join(tmpDir(t), 'not-there.mjs'))
    const others = new HashWorkers(hasher, { limit: 1, file })
    others.begin()
    const hashing = [new ClusterHashing(hasher, workers, 0), new ClusterHashing(hasher, others, 0)]
    const clusters = someClusters(Buffer.alloc(8 * CLUSTER_SIZE), 3)
    for (const beside of hashing) {
      const hashes = await beside.hashes(clusters)
      assert.deepEqual(hashes, hasher.hashes(clusters.masks, clusters.blocks))
    }
    // Its answer has come when that of a sound one has, which begins later.
    await ready(new HashWorkers(hasher))
    assert.ok(!workers.isReady && !others.isReady)
  })
})

describe('clusters are hashed', { timeout, skip }, () => {
  test('in the event loop at first, and if there are few; beside it if there are many', async () => {
    const hashing = await clusterHashing(8)
    const memory = Buffer.alloc(16 * CLUSTER_SIZE)
    const masks = new Array(16).fill(0xffff)
    const clusters = { masks, blocks: [memory], leases: [] }
    const right = hasher.hashes(masks, [memory])
    assert.equal(hashing.isBeside, false)
    for (let bytes = 0; bytes < 128 << 20; bytes += memory.length)
      assert.ok(!(hashing.hashes(clusters) instanceof Promise))
    await until(() => hashing.isBeside, 'a thread that hashes')
    const later = hashing.hashes(clusters)
    assert.ok(later instanceof Promise)
    assert.deepEqual(Buffer.from(await later), Buffer.from(right))
    const few = hashing.hashes({ masks: [0xffff], blocks: [memory.subarray(0, CLUSTER_SIZE)], leases: [] })
    assert.deepEqual(few, right.subarray(0, 16))
    assert.ok((await clusterHashing(3)).isBeside)
    assert.ok(!(await clusterHashing(2)).isBeside)
  })
})
