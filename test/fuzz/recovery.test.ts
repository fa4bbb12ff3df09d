import assert from 'node:assert/strict'
import { after, before, describe } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../src/core/errors.ts'
import { Findings } from '../../src/core/findings.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE } from '../../src/core/geometry.ts'
import type { Item, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { chunksOf, collectBytes, throughBytes } from '../support/bytes.ts'
import { cut, piped } from '../support/content.ts'
import { collect } from '../support/flow.ts'
import { tmpDir } from '../support/tmp.ts'
import { which } from '../support/tools.ts'
import { ourArchive, theirArchives } from './archives.ts'
import { fuzz } from './fuzz.ts'
import { type Mutation, mutate, mutations } from './mutation.ts'

const BUDGET = 40 << 20

type Clusters = Map<string, string>

interface Reading {
  findings: Findings
  /** "drive:cluster" to a digest of what it holds. */
  clusters: Clusters
}

/** Reads past all damage; every lease must come back, and no more is held than there may be. */
async function readAll(bytes: Uint8Array, piece: number): Promise<Reading> {
  const findings = new Findings()
  const clusters: Clusters = new Map()
  const write = (item: Item) => {
    if (item.kind === 'run') for (const [cluster, content] of contents(item)) clusters.set(cluster, content)
    item.release()
  }
  const stages = [
    chunksOf(cut(bytes, piece)),
    decompressor({ findings }),
    vmaDeframer({ findings }),
    collect('clusters', [], { write }),
  ]
  const { leaked, highWater } = await definePipeline(stages).run({ buffer: BUDGET, threads: 2 })
  assert.equal(leaked, 0)
  assert.ok(highWater <= BUDGET)
  return { findings, clusters }
}

function* contents({ drive, first, count, masks, blocks, isZero }: Run): Generator<[string, string]> {
  const bytes = Buffer.concat(blocks)
  let at = 0
  for (let index = 0; index < count; index++) {
    const content = Buffer.alloc(CLUSTER_SIZE)
    for (let block = 0; block < BLOCKS_PER_CLUSTER && !isZero; block++) {
      if (((masks![index] >>> block) & 1) === 0) continue
      bytes.copy(content, block * BLOCK_SIZE, at, at + BLOCK_SIZE)
      at += BLOCK_SIZE
    }
    yield [`${drive}:${first + index}`, content.toString('latin1')]
  }
}

describe('behind damage', () => {
  const dir = tmpDir({ after })
  let archives: Record<string, Buffer> = {}
  let whole: Clusters = new Map()

  before(async () => {
    const plain = await ourArchive(dir, 'none')
    whole = (await readAll(plain, plain.length)).clusters
    for (const method of ['zstd', 'lz4', 'gzip'] as const)
      archives[method] = await throughBytes(compressor({ method, frame: 1 << 16 }), [plain])
    archives = { plain, ...archives, ...theirArchives(plain) }
    // Without our checksums it is the compression's that tell.
    const bare = await unchecked(plain)
    for (const method of ['zstd', 'lz4', 'gzip'] as const)
      archives[`bare ${method}`] = await throughBytes(compressor({ method, frame: 1 << 16 }), [bare])
    for (const [program, ...args] of WITH_CHECKSUMS)
      if (which(program) !== undefined) archives[`bare ${program}`] = piped(program, args, bare)
  })

  const input = fc.record({ archive: fc.nat(), list: mutations([], 3), piece: fc.constantFrom(1000, 65_536, 1 << 22) })
  fuzz('nothing counts as sound that is not as it was written', input, async ({ archive, list, piece }) => {
    const names = Object.keys(archives)
    const reading = await attempt(archives[names[archive % names.length]], list, piece)
    if (reading === null) return
    const { findings, clusters } = reading
    for (const [id, { seen, suspect }] of findings.drives) {
      for (let cluster = 0; cluster < seen.size; cluster++) {
        const name = `${id}:${cluster}`
        assert.equal(seen.has(cluster), clusters.has(name), name)
        if (seen.has(cluster) && !suspect.has(cluster)) assert.ok(clusters.get(name) === whole.get(name), name)
      }
    }
  })
})

const WITH_CHECKSUMS = [
  ['zstd', '-c'],
  ['lz4', '-c', '-BD'],
  ['gzip', '-c'],
  ['lzop', '-c'],
]

/** The same archive as the real tool would write it. */
function unchecked(plain: Buffer): Promise<Buffer> {
  const output = collectBytes()
  const stages = [chunksOf([plain]), vmaDeframer(), vmaFramer({ checksums: false, index: false }), output.stage]
  return definePipeline(stages)
    .run()
    .then(() => output.bytes())
}

/** Null where nothing could be read. */
async function attempt(archive: Buffer, list: readonly Mutation[], piece: number): Promise<Reading | null> {
  try {
    return await readAll(mutate(archive, list), piece)
  } catch (error) {
    assert.ok(error instanceof VmapipeError && ['DAMAGED', 'INCOMPLETE'].includes(error.code), error as Error)
    return null
  }
}
