import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createGzip, createZstdCompress, gzipSync, constants as zlib, zstdCompressSync } from 'node:zlib'
import { LEAST_BUDGET } from '../../src/core/budget.ts'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { throughBytes } from '../support/bytes.ts'
import { piped } from '../support/content.ts'
import { writeImage } from '../support/image.ts'
import { lz4Frame } from '../support/lz4.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs, which } from '../support/tools.ts'

const MIB = 1 << 20
const random = seeded(seed)
const below = (end: number) => Math.floor(random() * end)
const oneOf = <T>(choices: readonly T[]) => choices[below(choices.length)]

/** Makes one frame or member, or several, of these bytes. */
type Encode = (bytes: Buffer) => Promise<Buffer> | Buffer

/** By one of ours or Node's encoders for every piece, and sometimes by a program: to start one takes long. */
interface Codec {
  quick: Encode[]
  programs: [string, ...string[]][]
  /** What may be between frames. */
  between: () => Buffer
}

/** A stream that is flushed after pieces of any size, such as a pipe's. */
async function flushed(engine: ReturnType<typeof createGzip>, bytes: Buffer): Promise<Buffer> {
  const parts: Buffer[] = []
  engine.on('data', (part) => parts.push(part))
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + below(bytes.length < 1000 ? 300 : 30_000)
    engine.write(bytes.subarray(at, end))
    await new Promise<void>((resolve) => engine.flush(resolve))
    at = end
  }
  engine.end()
  await once(engine, 'end')
  return Buffer.concat(parts)
}

/** RFC 8878, section 3.1.2. */
function skippable(): Buffer {
  const frame = Buffer.alloc(8 + below(3) * below(9000), 0xee)
  frame.writeUInt32LE(0x184d2a50 + below(6), 0)
  frame.writeUInt32LE(frame.length - 8, 4)
  return frame
}

const ours =
  (method: 'zstd' | 'lz4' | 'gzip'): Encode =>
  (bytes) =>
    throughBytes(compressor({ method, map: false, frame: oneOf([16 << 10, 300_000, 4 * MIB]) }), [bytes])

const CODECS: Record<string, Codec> = {
  zstd: {
    quick: [
      ours('zstd'),
      (bytes) => zstdCompressSync(bytes),
      (bytes) =>
        zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_checksumFlag]: 1, [zlib.ZSTD_c_contentSizeFlag]: 0 } }),
      (bytes) => flushed(createZstdCompress(), bytes),
    ],
    programs: [
      ['zstd', '-c', '-1'],
      ['zstd', '-c', '--no-check', '-T2', '-B1MiB'],
      ['zstd', '-c', '--long=24'],
    ],
    between: () => oneOf([skippable(), zstdCompressSync(Buffer.alloc(0))]),
  },
  lz4: {
    quick: [
      ours('lz4'),
      (bytes) => lz4Frame(bytes, { block: 1 + below(5000) }),
      (bytes) => lz4Frame(bytes, { block: 1 + below(70_000), large: true, sized: true }),
      (bytes) => lz4Frame(bytes, { block: 1 + below(400_000), large: true, linked: true }),
    ],
    programs: [
      ...['-B4', '-B5', '-B6', '-B7'].map((size) => ['lz4', '-c', size] as [string, ...string[]]),
      ['lz4', '-c', '-BD', '-B4'],
      ['lz4', '-c', '-BD', '-BX', '-B7'],
      ['lz4', '-c', '-l'],
    ],
    between: () => oneOf([skippable(), lz4Frame(Buffer.alloc(0), { block: 1 })]),
  },
  gzip: {
    quick: [
      ours('gzip'),
      (bytes) => gzipSync(bytes, { level: 1 }),
      (bytes) => flushed(createGzip({ level: 1 }), bytes),
    ],
    programs: [
      ['gzip', '-c', '-1'],
      ['pigz', '-c', '-1'],
      ['pigz', '-c', '-1', '-i', '-b', '128'],
    ],
    between: () => gzipSync(Buffer.alloc(0)),
  },
  // None of ours writes it.
  lzop: {
    quick: [],
    programs: [
      ['lzop', '-c'],
      ['lzop', '-c', '-F', '-1'],
      ['lzop', '-c', '-C'],
    ],
    between: () => piped('lzop', ['-c'], Buffer.alloc(0)),
  },
}

/** Pieces of any size, most of a kind: an archive in tiny ones, in large ones, or in both. */
function split(bytes: Buffer, tiny: number): Buffer[] {
  const [least, most] = oneOf([
    [1, 2 * MIB],
    [1, 3000],
    [500, 70_000],
    [60_000, 140_000],
    [300_000, 3 * MIB],
  ])
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    // However small they are, there are not too many of them.
    const [low, high] = pieces.length < tiny ? [least, most] : [100_000, 700_000]
    const size = Math.round(low * (high / low) ** random())
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

async function encode(bytes: Buffer, { quick, programs, between }: Codec): Promise<Buffer> {
  const frames: Buffer[] = []
  const pieces = split(bytes, quick.length > 0 ? 1200 : 10)
  const onlyOne = random() < 0.5 && quick.length > 0 ? oneOf(quick) : null
  const installed = programs.filter(([program]) => which(program) !== undefined)
  const started = Math.min(1, 25 / pieces.length)
  for (const piece of pieces) {
    if (quick.length === 0 || (random() < started && installed.length > 0)) {
      const [program, ...args] = oneOf(installed)
      frames.push(piped(program, args, piece))
    } else frames.push(await (onlyOne ?? oneOf(quick))(piece))
    if (random() < 0.05) frames.push(between())
  }
  return Buffer.concat(frames)
}

describe('an archive in frames, members and blocks of any size is read with the least memory', () => {
  const dir = tmpDir({ after })
  const disk = join(dir, 'disk.raw')
  const plain = join(dir, 'plain.vma')

  // Extents that no codec makes smaller, as much of them as is held while one is waited for.
  before(async () => {
    writeImage(disk, 9 * MIB + 512, { noise: 6 * MIB, text: MIB })
    await backup({ drives: { d: disk }, to: plain })
  })

  for (const [name, codec] of Object.entries(CODECS)) {
    test(`${name} (VMAPIPE_SEED=${seed})`, {
      ...needs(...new Set(codec.programs.map(([program]) => program))),
      timeout: 400_000,
    }, async () => {
      const bytes = readFileSync(plain)
      const digest = createHash('sha256').update(readFileSync(disk)).digest('hex')
      for (let round = 0; round < 4; round++) {
        const from = join(dir, `${name}.vma`)
        writeFileSync(from, await encode(bytes, codec))
        const to = join(dir, `${name}.raw`)
        const signal = AbortSignal.timeout(200_000)
        const how = { buffer: LEAST_BUDGET, threads: 1 + below(4), signal }
        const { leaked, highWater } = await restore({ from, drives: { d: to }, force: true, ...how })
        assert.equal(createHash('sha256').update(readFileSync(to)).digest('hex'), digest, `round ${round}`)
        assert.equal(leaked, 0)
        assert.ok(highWater <= LEAST_BUDGET, `${highWater} bytes`)
      }
    })
  }
})
