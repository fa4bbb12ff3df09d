import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { VmapipeError } from '../../src/core/errors.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { xxh32 } from '../../src/formats/lz4/xxh32.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { chunksOf, collectBytes, throughBytes } from '../support/bytes.ts'
import { cut, halfCompressible, piped } from '../support/content.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000
const MiB = 1 << 20
const large = halfCompressible(13 * MiB + 4321)
const small = halfCompressible(700)
const tiny = halfCompressible(150, 3)

const decompress = (bytes: Uint8Array, size = MiB) => throughBytes(decompressor(), cut(bytes, size))

describe('what we write comes back', () => {
  for (const method of ['zstd', 'lz4', 'gzip'] as const) {
    for (const frame of [100_000, 4 * MiB, 16 * MiB]) {
      test(`${method}, frames of ${frame} bytes`, { timeout }, async () => {
        const compressed = await throughBytes(compressor({ method, frame }), cut(large, 3 * MiB))
        assert.ok((await decompress(compressed)).equals(large))
      })
    }
    test(`${method}, arriving byte by byte`, { timeout }, async () => {
      const compressed = await throughBytes(compressor({ method, frame: 65536 }), [small, small])
      assert.deepEqual(await decompress(compressed, 1), Buffer.concat([small, small]))
    })
    test(`${method}, highly compressible: small compressed, large when it is not`, { timeout }, async () => {
      const zeroes = Buffer.alloc(40 * MiB)
      const compressed = await throughBytes(compressor({ method, frame: 16 * MiB }), cut(zeroes, 4 * MiB), {
        buffer: 256 * MiB,
      })
      assert.ok((await decompress(compressed)).equals(zeroes))
    })
  }
})

describe('what the programs write comes back', () => {
  const commands: [string, ...string[]][] = [
    ['zstd', '-c', '-1'],
    ['zstd', '-c', '--rsyncable', '-T2'],
    ['zstd', '-c', '-T2', '-B1MiB'],
    ['zstd', '-c', '--no-check'],
    ['zstd', '-c', '--long=27'],
    ['zstd', '-c', '--stream-size=13635809'],
    ['lz4', '-c'],
    ['lz4', '-c', '-BD'],
    ['lz4', '-c', '-B4', '-BD'],
    ['lz4', '-c', '-B5', '-BX'],
    ['lz4', '-c', '-B6', '--no-frame-crc'],
    ['lz4', '-c', '-B4', '-BX'],
    ['lz4', '-c', '-l'],
    ['lz4', '-c', '-9'],
    ['gzip', '-c', '-1'],
    ['pigz', '-c', '-1'],
    ['pigz', '-c', '-1', '-i'],
    ['lzop', '-c'],
    ['bzip2', '-c'],
    ['xz', '-c', '-1'],
    ['xz', '-c', '-1', '-T2', '--block-size=1MiB'],
  ]
  for (const [program, ...args] of commands) {
    test([program, ...args].join(' '), { ...needs(program), timeout }, async () => {
      assert.ok((await decompress(piped(program, args, large))).equals(large))
    })
  }

  test('zstd with a declared size, small and large', { ...needs('zstd'), timeout }, async () => {
    for (const bytes of [small, large.subarray(0, 3 * MiB), large]) {
      const compressed = piped('zstd', ['-c', `--stream-size=${bytes.length}`], bytes)
      assert.ok((await decompress(compressed)).equals(bytes))
    }
  })

  test('a VMA archive that is not compressed passes without a copy', { timeout }, async () => {
    const chunks = [Buffer.concat([Buffer.from('VMA\0'), small]), randomBytes(1000)]
    const seen: Uint8Array[] = []
    const output = collectBytes({ onChunk: ({ buffers }) => void seen.push(...buffers) })
    await definePipeline([chunksOf(chunks), decompressor(), output.stage]).run()
    assert.ok(seen.every(({ buffer }) => chunks.some((chunk) => chunk.buffer === buffer)))
    assert.ok(output.bytes().equals(Buffer.concat(chunks)))
  })
})

/** "Skippable Frames" of RFC 8878, 3.1.2. */
function skippable(length: number): Buffer {
  const frame = Buffer.alloc(8 + length, 0xee)
  frame.writeUInt32LE(0x184d2a5b, 0)
  frame.writeUInt32LE(length, 4)
  return frame
}

describe('frames one after the other', () => {
  test('of different make, with skippable ones before, between and after', {
    ...needs('zstd', 'lz4'),
    timeout,
  }, async () => {
    const kinds: [string, string[][]][] = [
      ['zstd', [['-c'], ['-c', '--no-check', '-19'], ['-c', '--stream-size=700']]],
      ['lz4', [['-c'], ['-c', '-l'], ['-c', '-B4', '-BD'], ['-c', '--no-frame-crc']]],
    ]
    for (const [program, variants] of kinds) {
      const frames = variants.map((args) => piped(program, args, small))
      const archive = frames.flatMap((frame) => [skippable(0), frame, skippable(5000)])
      const expected = Buffer.concat(frames.map(() => small))
      assert.ok((await decompress(Buffer.concat(archive), 1000)).equals(expected), program)
    }
  })

  test('gzip members of different make, ours among them, with padding', {
    ...needs('gzip', 'pigz'),
    timeout,
  }, async () => {
    const ours = await throughBytes(compressor({ method: 'gzip' }), [small])
    const padding = Buffer.alloc(3000)
    assert.ok((await decompress(Buffer.concat([ours, padding]), 1000)).equals(small))
    const members = [ours, ours, piped('gzip', ['-c'], small), ours, piped('pigz', ['-c'], small), padding]
    for (const size of [MiB, 999, 1]) {
      assert.ok((await decompress(Buffer.concat(members), size)).equals(Buffer.concat(Array(5).fill(small))))
    }
  })
})

/** Archives of several small frames, and the offsets of these frames. */
async function archives(): Promise<{ name: string; bytes: Buffer; boundaries: number[]; checked: boolean }[]> {
  const joined = (name: string, frames: Buffer[], checked = true) => {
    const boundaries = frames.map((_, index) => Buffer.concat(frames.slice(0, index + 1)).length)
    return { name, bytes: Buffer.concat(frames), boundaries, checked }
  }
  const ours = async (method: 'zstd' | 'lz4' | 'gzip') => {
    const frame = await throughBytes(compressor({ method, map: false }), [tiny])
    return joined(`our ${method}`, [frame, frame])
  }
  const theirs = (program: string, args: string[], checked = true) => {
    const frame = piped(program, ['-c', ...args], tiny)
    return joined(`${program} ${args.join(' ')}`, [frame, frame], checked)
  }
  return [
    await ours('zstd'),
    await ours('lz4'),
    await ours('gzip'),
    theirs('zstd', []),
    theirs('zstd', ['--no-check'], false),
    theirs('lz4', ['-BD']),
    theirs('lz4', ['-BX', '--no-frame-crc']),
    theirs('lz4', ['-l'], false),
    theirs('gzip', []),
  ]
}

describe('damage', () => {
  for (const method of ['zstd', 'lz4', 'gzip'] as const) {
    test(`no flipped bit of an archive of ours in ${method} goes unnoticed, and none of what decompressors pass over`, {
      timeout,
    }, async () => {
      const archive = await throughBytes(compressor({ method }), [tiny])
      for (let index = 0; index < archive.length; index++) {
        const flipped = Buffer.from(archive)
        flipped[index] ^= 1 << (index % 8)
        const code = (error: VmapipeError) => ['DAMAGED', 'INCOMPLETE'].includes(error.code)
        await assert.rejects(decompress(flipped), code, `byte ${index}`)
        await assert.rejects(decompress(flipped, 7), code, `byte ${index}, in small pieces`)
      }
      assert.ok((await decompress(archive, 7)).equals(tiny))
    })
  }

  test('an archive cut anywhere but between frames is INCOMPLETE', {
    ...needs('zstd', 'lz4', 'gzip'),
    timeout,
  }, async () => {
    for (const { name, bytes, boundaries } of await archives()) {
      for (let length = 0; length < bytes.length; length++) {
        const what = `${name}: ${length} of ${bytes.length} bytes`
        const whole = boundaries.indexOf(length) + 1
        const result = decompress(bytes.subarray(0, length))
        if (whole > 0) assert.ok((await result).equals(Buffer.concat(Array(whole).fill(tiny))), what)
        // A legacy frame has no end mark: it ends wherever a block does.
        else await assert.rejects(result, { code: 'INCOMPLETE', stage: 'decompressor' }, what)
      }
    }
  })

  test('no flipped bit of what a checksum covers goes unnoticed', {
    ...needs('zstd', 'lz4', 'gzip'),
    timeout,
  }, async () => {
    for (const { name, bytes, checked } of await archives()) {
      const expected = Buffer.concat([tiny, tiny])
      for (let index = 0; index < bytes.length; index++) {
        const flipped = Buffer.from(bytes)
        flipped[index] ^= 1 << (index % 8)
        const result = await decompress(flipped).catch((error: VmapipeError) => error)
        if (Buffer.isBuffer(result)) assert.ok(!checked || result.equals(expected), `${name}: byte ${index}`)
        else assert.ok(['DAMAGED', 'INCOMPLETE'].includes(result.code), `${name}: byte ${index}: ${result.line}`)
      }
    }
  })

  test('garbage after the last frame is an error with its offset', {
    ...needs('zstd', 'lz4', 'gzip'),
    timeout,
  }, async () => {
    for (const { name, bytes } of await archives()) {
      if (name === 'lz4 -l') continue
      for (const garbage of ['x', 'garbage that is longer than a magic number', '\0\0\0\0more']) {
        const result = decompress(Buffer.concat([bytes, Buffer.from(garbage)]))
        await assert.rejects(result, { code: 'DAMAGED' }, `${name}: ${garbage}`)
      }
    }
    const frame = await throughBytes(compressor(), [small])
    await assert.rejects(decompress(Buffer.concat([frame, Buffer.from('garbage')])), {
      message: 'the archive goes on after its last zstd frame with 67 61 72 62',
      where: { offset: frame.length },
    })
    const member = piped('gzip', ['-c'], small)
    await assert.rejects(decompress(Buffer.concat([member, Buffer.from('\0\0x')])), {
      where: { offset: member.length + 2 },
    })
  })

  test('frames of another family do not follow', { timeout }, async () => {
    const frames = [
      await throughBytes(compressor(), [small]),
      await throughBytes(compressor({ method: 'lz4' }), [small]),
    ]
    await assert.rejects(decompress(Buffer.concat(frames)), { code: 'DAMAGED', where: { offset: frames[0].length } })
  })

  test('what is no archive is named by its first bytes', { timeout }, async () => {
    await assert.rejects(decompress(Buffer.from('PK\x03\x04 and so on')), {
      code: 'DAMAGED',
      message: 'this is not a VMA archive, compressed or not: it begins with 50 4b 03 04 20 61 6e 64 20',
    })
    await assert.rejects(decompress(Buffer.alloc(0)), { code: 'INCOMPLETE', message: 'the archive is empty' })
    await assert.rejects(decompress(skippable(3)), { code: 'INCOMPLETE' })
  })

  test('a damaged or cut lzop archive is an error, with what lzop says', { ...needs('lzop'), timeout }, async () => {
    const bytes = piped('lzop', ['-c'], small)
    await assert.rejects(decompress(bytes.subarray(0, -9)), { code: 'INCOMPLETE', message: /within a lzop stream/ })
    const flipped = Buffer.from(bytes)
    flipped[bytes.length >> 1] ^= 4
    await assert.rejects(decompress(flipped), { code: 'DAMAGED', message: /lzop cannot decode/ })
  })

  test('a missing program is said so, with what to do', { ...needs('lzop', 'bzip2', 'xz'), timeout }, async (t) => {
    const made = ['lzop', 'bzip2', 'xz'].map((program) => [program, piped(program, ['-c'], small)] as const)
    const path = process.env.PATH
    t.after(() => {
      process.env.PATH = path
    })
    process.env.PATH = '/nonexistent'
    for (const [program, bytes] of made)
      await assert.rejects(decompress(bytes), {
        code: 'FAILED',
        message: new RegExp(`no ${program} program`),
        hint: /^install (lzop|bzip2|xz-utils)$/,
      })
  })
})

describe('memory', () => {
  /** A zstd frame of raw blocks of this header. */
  const zstdFrame = (header: string) => Buffer.from(`28b52ffd${header}290000aaaaaaaaaa`, 'hex')

  test('a declared size is not believed', { timeout }, async () => {
    // five bytes that claim to be 2^52, 4 MiB, and 4
    await assert.rejects(decompress(zstdFrame('c0500000000000001000')), { code: 'DAMAGED' })
    await assert.rejects(decompress(zstdFrame('a000004000')), { code: 'DAMAGED' })
    await assert.rejects(decompress(zstdFrame('2004')), { code: 'DAMAGED' })
    assert.equal((await decompress(zstdFrame('2005'))).toString('hex'), 'aaaaaaaaaa')
  })

  /** The same of 16 MiB, all of one byte. */
  const longFrame = (header: string) => Buffer.from(`28b52ffd${header}${'02001000'.repeat(127)}03001000`, 'hex')

  test('a window of more than 128 MiB is refused, although the codec could decode it', { timeout }, async () => {
    const refused = { code: 'FAILED', message: /256\.0 MiB of memory/, hint: 'allow a --buffer of 256MiB' }
    await assert.rejects(decompress(longFrame('0090')), refused)
    await assert.rejects(decompress(longFrame('00b0')), { code: 'DAMAGED', message: /4\.0 GiB of memory/ })
    assert.equal((await decompress(longFrame('0088'))).length, 16 * MiB)
    const allowed = await throughBytes(decompressor(), [longFrame('0090')], { buffer: 256 * MiB })
    assert.equal(allowed.length, 16 * MiB)
  })

  test('a frame that can only hold little needs no window, however large it is said to be', { timeout }, async () => {
    assert.equal((await decompress(zstdFrame('00a0'))).toString('hex'), 'aaaaaaaaaa')
  })

  test('the content of an LZ4 frame is never larger or smaller than the frame says', { timeout }, async () => {
    const frame = await throughBytes(compressor({ method: 'lz4', map: false }), [large.subarray(0, 200_000)])
    for (const [declared, message] of [
      [0, /declares 0 bytes and holds more/],
      [199_999, /declares 199999 bytes and holds more/],
      [200_001, /declares 200001 bytes and holds 200000/],
    ] as const) {
      const lie = Buffer.from(frame)
      lie.writeBigUInt64LE(BigInt(declared), 6)
      lie[14] = (xxh32(lie.subarray(4, 14)) >>> 8) & 0xff
      await assert.rejects(decompress(lie), { code: 'DAMAGED', message })
    }
  })

  test('an LZ4 block is never larger than the frame says', { timeout }, async () => {
    const lz4 = await throughBytes(compressor({ method: 'lz4' }), [small])
    lz4.writeUInt32LE(65537, 15)
    await assert.rejects(decompress(lz4), { code: 'DAMAGED', message: /65537 bytes long/, where: { offset: 15 } })
  })

  test('bombs of every kind are decoded in pieces, with any budget', {
    ...needs('zstd', 'lz4', 'gzip'),
    timeout,
  }, async () => {
    const zeroes = Buffer.alloc(200 * MiB)
    for (const [program, ...args] of [
      ['zstd', '-c', '--stream-size=209715200'],
      ['lz4', '-c'],
      ['lz4', '-c', '-l'],
      ['gzip', '-c', '-1'],
    ]) {
      let most = 0
      let total = 0
      const output = collectBytes({
        drop: true,
        onChunk: ({ byteLength }) => {
          most = Math.max(most, byteLength)
          total += byteLength
        },
      })
      const bomb = piped(program, args, zeroes)
      await definePipeline([chunksOf(cut(bomb, 65536)), decompressor(), output.stage]).run({ buffer: 64 * MiB })
      assert.equal(total, zeroes.length)
      assert.ok(most <= MiB, `${program}: ${most} bytes at once`)
    }
  })

  /** Decompresses with a reader that holds on to `hold` bytes, as a deframer does that waits for the rest of an extent. */
  async function heldBack(compressed: Buffer, hold: number, buffer: number): Promise<number> {
    let held = 0
    let most = 0
    const waiting: (() => void)[] = []
    const output = collectBytes({
      onChunk: async (chunk) => {
        held += chunk.byteLength
        most = Math.max(most, held)
        for (const lease of chunk.leases) lease.retain()
        waiting.push(() => {
          held -= chunk.byteLength
          chunk.release()
        })
        await sleep(1)
        while (held > hold) waiting.shift()!()
      },
    })
    await definePipeline([chunksOf(cut(compressed, 65536)), decompressor(), output.stage]).run({ buffer })
    assert.ok(output.bytes().equals(large))
    for (const release of waiting) release()
    return most
  }

  for (const method of ['zstd', 'lz4', 'gzip'] as const) {
    test(`${method}: what is held at once is bounded, however slow the reader`, { timeout }, async () => {
      const compressed = await throughBytes(compressor({ method, frame: MiB }), cut(large, MiB))
      const most = await heldBack(compressed, 8 * MiB, 48 * MiB)
      assert.ok(most <= 18 * MiB, `${most} bytes`)
    })
  }

  for (const [program, ...args] of [
    ['zstd', '-c'],
    ['lz4', '-c'],
    ['lz4', '-c', '-B4'],
    ['gzip', '-c', '-1'],
  ]) {
    const name = `${program} ${args.join(' ')} goes on with 16 MiB while a whole extent is held`
    test(name, { ...needs(program), timeout }, async () => {
      const most = await heldBack(piped(program, args, large), 59 * 65536, 16 * MiB)
      assert.ok(most <= 7 * MiB, `${most} bytes`)
    })
  }

  test('a budget too small for any archive is refused at once', { timeout }, async () => {
    const tooSmall = throughBytes(decompressor(), [large], { buffer: 8 * MiB })
    await assert.rejects(tooSmall, { code: 'USAGE', hint: /larger --buffer/ })
  })
})

test('the order stays the same for frames of any kind', { timeout }, async () => {
  const pieces = Array.from({ length: 60 }, (_, index) =>
    index % 3 === 0 ? Buffer.alloc(900_000, index) : halfCompressible(1 + index * 7001, index),
  )
  const frames: Buffer[] = []
  for (const [index, piece] of pieces.entries())
    frames.push(await throughBytes(compressor({ level: (index % 9) + 1, map: false }), [piece]))
  const hash = (bytes: Buffer) => createHash('sha1').update(bytes).digest('hex')
  assert.equal(hash(await decompress(Buffer.concat(frames), 50_000)), hash(Buffer.concat(pieces)))
})

describe('abort', () => {
  for (const [program, ...args] of [
    ['zstd', '-c'],
    ['lz4', '-c'],
    ['lz4', '-c', '-B4'],
    ['gzip', '-c', '-1'],
    ['lzop', '-c'],
  ]) {
    test(`ends ${program} ${args.join(' ')}`, { ...needs(program), timeout }, async () => {
      const controller = new AbortController()
      const output = collectBytes({
        onChunk: async () => {
          controller.abort()
          await sleep(20)
        },
      })
      const running = definePipeline([
        chunksOf(cut(piped(program, args, large), 100_000)),
        decompressor(),
        output.stage,
      ])
      await assert.rejects(running.run({ signal: controller.signal }), { code: 'ABORTED' })
    })
  }

  test('while it waits for input', { timeout }, async () => {
    const compressed = await throughBytes(compressor(), [large])
    const stalled = (async function* () {
      yield compressed.subarray(0, 100_000)
      await sleep(200)
      yield compressed.subarray(100_000)
    })()
    const running = definePipeline([chunksOf(stalled), decompressor(), collectBytes().stage])
    await assert.rejects(running.run({ signal: AbortSignal.timeout(30) }), { code: 'ABORTED' })
  })
})
