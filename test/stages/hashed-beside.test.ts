/** The stages that hash clusters, while threads of their own do it. */

import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { before, describe, test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { Findings } from '../../src/core/findings.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Chunk, type Item, Run } from '../../src/core/items.ts'
import type { RunOptions } from '../../src/core/pipeline.ts'
import { changeFilter } from '../../src/stages/change-filter.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { bytesThrough, manifestOf, through } from '../support/flow.ts'
import { BESIDE, beginHashThreads, INSIDE, noHashThreads } from '../support/hash-threads.ts'
import { memoryParent } from '../support/parents.ts'
import { seeded } from '../support/random.ts'
import { stageContract } from './contract.ts'

const timeout = 180_000
const skip = noHashThreads
const EXTENTS = 24
const random = seeded(16)

/** Extents of data, some with blocks of zeroes, and now and then a hole. */
const extents = Array.from({ length: EXTENTS }, (_, index) => {
  const bytes = Buffer.alloc(58 * CLUSTER_SIZE, `extent ${index} `)
  for (let at = 0; at < bytes.length; at += 4096 * (1 + Math.floor(random() * 40))) bytes.fill(0, at, at + 4096)
  return bytes
})

function clusters(): Item[] {
  const runs = extents.map((extent, index) => new Run(1, index * 58, 58, index % 7 === 3 ? [] : [extent]))
  return [manifestOf(EXTENTS * 58 * CLUSTER_SIZE), ...runs]
}

const archive = () => bytesThrough('clusters', clusters(), [zeroElider(), vmaFramer()])
const joined = (chunks: readonly Chunk[]) => Buffer.concat(chunks.flatMap(({ buffers }) => buffers))

if (!skip) {
  before(beginHashThreads)
  const options = BESIDE
  stageContract('vma-framer beside the event loop', { stage: vmaFramer, input: clusters, empty: 'STAGE', options })
  stageContract('vma-deframer beside the event loop', {
    stage: vmaDeframer,
    input: archive,
    empty: 'INCOMPLETE',
    options,
  })
  stageContract('change-filter beside the event loop', {
    stage: async () => changeFilter({ since: 'parent', against: await memoryParent({ 'drive-scsi0': extents[1] }) }),
    input: clusters,
    options,
  })
}

/** Everything that comes of an archive: what is found, and which data comes. */
async function read(chunks: Chunk[], options: RunOptions) {
  const findings = new Findings()
  const lines: string[] = []
  try {
    for (const item of await through('bytes', chunks, [vmaDeframer({ findings })], options)) {
      if (item.kind !== 'run') continue
      const parts = [item.masks ?? '', item.hashes ?? '', ...item.blocks].map((part) =>
        hash('md5', Buffer.from(part as Uint8Array)),
      )
      lines.push(`${item.first} ${item.count} ${hash('md5', parts.join())}`)
    }
  } catch (error) {
    lines.push(String(error))
  }
  const drives = [...findings.drives.values()].map(({ suspect, seen, checked }) => [
    [...suspect.ranges()],
    seen.count,
    checked,
  ])
  return { lines, drives, damage: findings.damage.map(({ error }) => error.line), behind: findings.behind }
}

/** The bytes as chunks of any size, with gaps between some of them. */
function cutUp(bytes: Buffer, random: () => number): Chunk[] {
  const chunks: Chunk[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = Math.ceil(random() * (6 << 20))
    const error = new VmapipeError('DAMAGED', 'for a test')
    const gap = at > 0 && random() < 0.1 ? { error, lost: random() < 0.5, doubtful: Math.floor(random() * 2e6) } : null
    chunks.push(new Chunk([bytes.subarray(at, at + length)], [], gap))
    at += length
  }
  return chunks
}

describe('clusters that are hashed beside the event loop', { timeout, skip }, () => {
  test('make the same archive, full or incremental', async () => {
    const parent = await memoryParent({ 'drive-scsi0': Buffer.concat([extents[0], extents[2], extents[2]]) })
    const filters = [[], [changeFilter({ since: 'parent', against: parent })]]
    for (const filter of filters) {
      const stages = [zeroElider(), ...filter, vmaFramer()]
      const beside = await through<Chunk>('clusters', clusters(), stages, { ...BESIDE, buffer: 256 << 20 })
      const inside = await through<Chunk>('clusters', clusters(), stages, { ...INSIDE, buffer: 256 << 20 })
      assert.ok(joined(beside).equals(joined(inside)))
    }
  })

  test('are read as those in the event loop, in archives that are damaged, cut, and have others behind them', async () => {
    const whole = joined(await archive())
    const random = seeded(7)
    for (let round = 0; round < 16; round++) {
      const bytes = Buffer.from(whole)
      const at = () => Math.floor(random() * bytes.length)
      for (let flips = round % 4; flips > 0; flips--) bytes[at()] ^= 1 << Math.floor(random() * 8)
      const [first, second] = [at(), at()].sort((a, b) => a - b)
      const damaged = [
        bytes,
        bytes.subarray(0, first),
        Buffer.concat([bytes.subarray(0, first), bytes.subarray(second)]),
        Buffer.concat([bytes, bytes.subarray(second)]),
      ][Math.floor(random() * 4)]
      const seed = round
      const beside = await read(cutUp(damaged, seeded(seed)), BESIDE)
      const inside = await read(cutUp(damaged, seeded(seed)), INSIDE)
      assert.deepEqual(beside, inside, `round ${round}`)
    }
  })
})
