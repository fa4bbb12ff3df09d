/** The pure parts by themselves, with the benchmark package: what the main thread spends on a cluster, an extent, a frame. */

import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import benchmark from 'benchmark'
import { ByteQueue } from '../src/core/byte-queue.ts'
import { ClusterSet } from '../src/core/cluster-set.ts'
import { Counters } from '../src/core/counters.ts'
import { CLUSTER_SIZE, FULL_MASK } from '../src/core/geometry.ts'
import { Chunk, Run } from '../src/core/items.ts'
import { isZero } from '../src/core/zero.ts'
import { decodeExtentHeader, ExtentHeaderWriter, SLOTS_USED } from '../src/formats/vma/extent.ts'
import {
  decodeZstdBlock,
  decodeZstdHeader,
  ZSTD_BLOCK_HEADER_SIZE,
  zstdHeaderLength,
} from '../src/formats/zstd/frame.ts'
import { elide } from '../src/stages/zero-elider.ts'
import { Content } from './images.ts'
import type { Section, Settings } from './topic.ts'

/** `bytes` of content are dealt with by one run of `work`; 0 where that says nothing. */
interface Case {
  name: string
  bytes: number
  work: () => void
}

export async function run({ quick }: Settings): Promise<Section> {
  const rows: string[][] = []
  const cases = [...zeroDetection(), ...extents(), ...clusterSets(), ...frames()]
  const suite = new benchmark.Suite()
  for (const { name, work } of cases) suite.add(name, work, { maxTime: quick ? 0.1 : 1 })
  suite.on('cycle', ({ target: { name, hz, stats, error } }) => {
    if (error) throw error
    const { bytes } = cases.find((entry) => entry.name === name)!
    const rate = bytes === 0 ? '' : ((hz * bytes) / 2 ** 30).toFixed(hz * bytes < 2 ** 30 ? 2 : 0)
    rows.push([name, time(hz), `±${stats.rme.toFixed(1)} %`, String(stats.sample.length), rate])
    process.stderr.write(`  ${time(hz)}  ${name}\n`)
  })
  suite.run()
  return {
    title: 'Micro-benchmarks',
    intro: [
      'The pure parts of the main thread, one at a time and with everything in the processor’s cache: the least that they cost. ' +
        'GiB/s are of the drive or stream that goes by.',
    ],
    tables: [{ head: ['what', 'one run', 'spread', 'samples', 'GiB/s'], rows }],
    goals: [],
  }
}

function time(hz: number): string {
  return hz > 1e6 ? `${(1e9 / hz).toFixed(0)} ns` : `${(1e6 / hz).toFixed(2)} µs`
}

function zeroDetection(): Case[] {
  const zeroes = Buffer.alloc(CLUSTER_SIZE)
  const late = Buffer.alloc(CLUSTER_SIZE)
  late[CLUSTER_SIZE - 100] = 1
  const content = new Content(3)
  const extent = content.next(SLOTS_USED * CLUSTER_SIZE)
  const half = Buffer.from(extent)
  for (let at = 0; at < half.length; at += 8192) half.fill(0, at, at + 4096)
  const counters = new Counters()
  const elided = (bytes: Buffer) => () => void elide(new Run(1, 0, SLOTS_USED, [bytes]), counters)
  return [
    { name: 'isZero: 64 KiB of zeroes', bytes: CLUSTER_SIZE, work: () => void isZero(zeroes, 0, CLUSTER_SIZE) },
    { name: 'isZero: one byte set, late', bytes: CLUSTER_SIZE, work: () => void isZero(late, 0, CLUSTER_SIZE) },
    { name: 'isZero: 64 KiB of data', bytes: CLUSTER_SIZE, work: () => void isZero(extent, 0, CLUSTER_SIZE) },
    { name: 'zero elider: an extent of data', bytes: extent.length, work: elided(extent) },
    { name: 'zero elider: an extent of zeroes', bytes: extent.length, work: elided(Buffer.alloc(extent.length)) },
    { name: 'zero elider: every other block zero', bytes: extent.length, work: elided(half) },
  ]
}

function extents(): Case[] {
  const uuid = randomBytes(16)
  const writer = new ExtentHeaderWriter(uuid)
  const encode = () => {
    for (let slot = 0; slot < SLOTS_USED; slot++) writer.add(1, slot, FULL_MASK)
    return writer.finish()
  }
  const header = encode()
  const bytes = SLOTS_USED * CLUSTER_SIZE
  return [
    { name: 'extent header: encode 58 slots', bytes, work: () => void encode() },
    { name: 'extent header: check and decode', bytes, work: () => void decodeExtentHeader(header, uuid, 0) },
  ]
}

function clusterSets(): Case[] {
  const clusters = 1 << 20
  const shuffled = Uint32Array.from({ length: clusters / 16 }, (_, index) => ((index * 40503) % (clusters / 16)) * 16)
  return [
    {
      name: 'cluster set: 64 GiB in order, by extents',
      bytes: clusters * CLUSTER_SIZE,
      work() {
        const set = new ClusterSet(clusters)
        for (let first = 0; first < clusters; first += SLOTS_USED)
          set.addRange(first, Math.min(SLOTS_USED, clusters - first))
      },
    },
    {
      name: 'cluster set: 64 GiB, by 1 MiB out of order',
      bytes: clusters * CLUSTER_SIZE,
      work() {
        const set = new ClusterSet(clusters)
        for (const first of shuffled) set.addRange(first, 16)
      },
    },
  ]
}

function frames(): Case[] {
  const content = new Content(4).next(4 << 20)
  const frame = zstdCompressSync(content)
  const chunk = 1 << 20
  return [
    { name: 'zstd frame of 4 MiB: walk to its end', bytes: content.length, work: () => void walk(frame) },
    {
      name: 'byte queue: an extent out of chunks of 1 MiB',
      bytes: content.length,
      work() {
        const queue = new ByteQueue()
        for (let at = 0; at < content.length; at += chunk) queue.push(new Chunk([content.subarray(at, at + chunk)]))
        queue.peek(512)
        queue.skip(512)
        queue.take(content.length - 512)
      },
    },
  ]
}

function walk(frame: Buffer): number {
  let at = decodeZstdHeader(frame.subarray(0, zstdHeaderLength(frame[4])), 0).length
  for (let last = false; !last && at + ZSTD_BLOCK_HEADER_SIZE <= frame.length; ) {
    const block = decodeZstdBlock(frame.subarray(at, at + ZSTD_BLOCK_HEADER_SIZE), at)
    at += block.length
    last = block.last
  }
  return at
}
