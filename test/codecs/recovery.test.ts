import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Findings } from '../../src/core/findings.ts'
import type { Chunk, Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { chunksOf, throughBytes } from '../support/bytes.ts'
import { cut, halfCompressible, piped } from '../support/content.ts'
import { collect } from '../support/flow.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000
const FRAME = 1 << 16
const content = halfCompressible(5 * FRAME + 1234)
const METHODS = ['zstd', 'lz4', 'gzip'] as const

interface Outcome {
  findings: Findings
  /** What came between gaps, without what is in doubt. */
  parts: Buffer[]
}

/** Decompresses, going on behind damage, and sees to it that no memory stays on lease. */
async function recover(bytes: Uint8Array, piece = 1 << 20): Promise<Outcome> {
  const findings = new Findings()
  const parts: Buffer[][] = [[]]
  const write = (item: Item) => {
    const { buffers, gap } = item as Chunk
    parts.at(-1)!.push(...buffers.map((buffer) => Buffer.from(buffer)))
    if (gap !== null) {
      const part = Buffer.concat(parts.pop()!)
      parts.push([part.subarray(0, Math.max(0, part.length - gap.doubtful))], [])
    }
    item.release()
  }
  const stages = [chunksOf(cut(bytes, piece)), decompressor({ findings }), collect('bytes', [], { write })]
  const { leaked } = await definePipeline(stages).run()
  assert.equal(leaked, 0)
  return { findings, parts: parts.map((part) => Buffer.concat(part)) }
}

/** What came of content that was damaged in one place is its beginning and its end; gives how many bytes are not there. */
function lostOf({ parts }: Outcome, whole: Buffer): number {
  const [first, ...rest] = parts.filter(({ length }) => length > 0)
  if (first === undefined) return whole.length
  assert.ok(rest.length <= 1, `${parts.map(({ length }) => length)}`)
  if (rest.length === 1) {
    assert.ok(whole.subarray(0, first.length).equals(first) && whole.subarray(-rest[0].length).equals(rest[0]))
    return whole.length - first.length - rest[0].length
  }
  assert.ok(whole.subarray(0, first.length).equals(first) || whole.subarray(-first.length).equals(first))
  return whole.length - first.length
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] ^= 1 << (at % 8)
  return copy
}

for (const method of METHODS) {
  describe(`${method}: behind damage`, { timeout }, () => {
    const made = throughBytes(compressor({ method, frame: FRAME }), [content])

    test('nothing is reported of an archive that is whole', async () => {
      const { findings, parts } = await recover(await made)
      assert.ok(parts.length === 1 && parts[0].equals(content))
      assert.equal(findings.damageCount, 0)
      assert.equal(findings.compression!.format, method)
      assert.equal(findings.compression!.checked, findings.compression!.frames)
    })

    test('every flipped byte is reported, and costs two frames at most', async () => {
      const archive = await made
      let worst = 0
      // Without the magic number that tells what it is.
      for (let at = 4; at < archive.length; at += 337) {
        const outcome = await recover(flipped(archive, at)).catch((error) => {
          throw new Error(`byte ${at}`, { cause: error })
        })
        assert.ok(outcome.findings.damageCount > 0, `byte ${at}`)
        worst = Math.max(worst, lostOf(outcome, content))
      }
      assert.ok(worst <= 2 * FRAME, `${worst} bytes`)
    })

    test('a frame whose header is damaged loses no other frame, for any change of the header', async () => {
      const archive = await made
      const header = archive.subarray(0, method === 'gzip' ? 16 : 4)
      const second = archive.indexOf(header, 100)
      for (let at = second; at < second + 24; at++) {
        for (const piece of [100_000, 777]) {
          const outcome = await recover(flipped(archive, at), piece)
          assert.ok(outcome.findings.damageCount > 0, `byte ${at}`)
          assert.ok(lostOf(outcome, content) <= FRAME, `byte ${at}`)
        }
      }
    })

    test('an archive that is cut gives what it has', async () => {
      const archive = await made
      for (let length = 1000; length < archive.length; length += 9973) {
        const outcome = await recover(archive.subarray(0, length))
        const { parts, findings } = outcome
        const bytes = Buffer.concat(parts)
        assert.ok(content.subarray(0, bytes.length).equals(bytes))
        assert.ok(bytes.length >= (length / archive.length - 0.5) * content.length - FRAME)
        assert.ok(findings.damageCount > 0 || bytes.length % FRAME === 0 || bytes.length === content.length)
      }
    })
  })
}

describe('what others compressed', { timeout }, () => {
  for (const [program, ...args] of [
    ['zstd', '-c'],
    ['lz4', '-c', '-BD'],
    ['lz4', '-c', '-B4'],
    ['gzip', '-c'],
    ['lzop', '-c'],
  ]) {
    test(`${program} ${args.join(' ')}: of a damaged frame nothing is taken for sound`, needs(program), async () => {
      const archive = piped(program, args, content)
      for (let at = 40; at < archive.length; at += 7919) {
        const outcome = await recover(flipped(archive, at))
        assert.equal(outcome.findings.damageCount, 1, `byte ${at}`)
        assert.equal(lostOf(outcome, content), content.length, `byte ${at}`)
      }
    })
  }

  test('a frame without a checksum is counted as such', needs('zstd'), async () => {
    const plain = piped('zstd', ['-c', '--no-check'], content)
    const { findings } = await recover(Buffer.concat([plain, piped('zstd', ['-c'], content)]))
    assert.deepEqual(findings.compression, { format: 'zstd', frames: 2, checked: 1 })
  })
})

test('what is no archive at all ends the run', { timeout }, async () => {
  await assert.rejects(recover(Buffer.from('PK and so on')), { code: 'DAMAGED', message: /not a VMA archive/ })
  await assert.rejects(recover(Buffer.alloc(0)), { code: 'INCOMPLETE' })
})
