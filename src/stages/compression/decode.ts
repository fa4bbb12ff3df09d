/** An archive of any compression to the bytes of the VMA archive within: what it is, is told from the bytes themselves. */

import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { couldBecome, type Format, MAGIC_LIMIT, recognise } from '../../formats/compression.ts'
import type { Decoder, DecoderContext } from './decoder.ts'
import { frameStartOf } from './frame-start.ts'
import { decodeGzip } from './gzip-decoder.ts'
import type { Inlet } from './inlet.ts'
import { decodeLz4Frame } from './lz4-decoder.ts'
import { decodeLegacyFrame } from './lz4-legacy-decoder.ts'
import { decodeLzop } from './lzop-decoder.ts'
import { decodeZstdFrame } from './zstd-decoder.ts'

/** Decodes to the end of the input, and checks that it is the end of the archive too. */
export async function decodeArchive(context: DecoderContext): Promise<void> {
  const start = await context.input.peek(MAGIC_LIMIT)
  const format = recognise(start)
  if (format === undefined) throw unknown(start)
  context.onFormat(format)
  if (format === 'vma') await passThrough(context)
  else if (format === 'gzip') await decodeGzip(context)
  else if (format === 'lzop') await decodeLzopStream(context)
  else await decodeFrames(context)
  await context.order.drain()
}

function unknown(start: Buffer): VmapipeError {
  if (start.length === 0) return new VmapipeError('INCOMPLETE', 'the archive is empty', { offset: 0 })
  if (couldBecome(start)) {
    return new VmapipeError('INCOMPLETE', `the archive ends after ${start.length} bytes`, { offset: start.length })
  }
  return new VmapipeError('DAMAGED', `this is not a VMA archive, compressed or not: it begins with ${hex(start)}`, {
    offset: 0,
    hint: 'it may be vma, or vma compressed with zstd, lz4, gzip or lzop',
  })
}

function hex(bytes: Buffer): string {
  return bytes.toString('hex').replace(/..(?=.)/g, '$& ')
}

/** Nothing to undo: the chunks go on as they are. */
async function passThrough({ input, order }: DecoderContext): Promise<void> {
  for (let taken = await input.take(); taken !== null; taken = await input.take()) {
    await order.pass(new Chunk(taken.buffers, taken.leases))
  }
}

/** Nothing of it can be decoded behind damage. */
async function decodeLzopStream(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  recovery.sawFrame(true)
  await recovery.attempt(input, () => decodeLzop(context), { magic: [], couldBe: () => false })
}

const FRAMES = {
  zstd: { family: 'zstd', decode: decodeZstdFrame },
  lz4: { family: 'LZ4', decode: decodeLz4Frame },
  'lz4-legacy': { family: 'LZ4', decode: decodeLegacyFrame },
  skippable: { family: undefined, decode: skipFrame },
} satisfies Partial<Record<Format, { family: string | undefined; decode: Decoder }>>

/** Frames of one family to the end, skippable ones between them. */
async function decodeFrames(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  let current: string | undefined
  for (;;) {
    const start = await input.peek(4)
    if (start.length === 0 && current !== undefined) return
    if (start.length === 0) throw input.endsWithin('skippable frames')
    const next = async () => {
      const { family, decode } = frameKind(start, input, current)
      current ??= family
      await decode(context)
    }
    await recovery.attempt(input, next, frameStartOf(current))
  }
}

function frameKind(start: Buffer, input: Inlet, current: string | undefined) {
  const format = recognise(start)
  const kind = format !== undefined && format in FRAMES ? FRAMES[format as keyof typeof FRAMES] : undefined
  if (kind !== undefined && (current ?? kind.family) === (kind.family ?? current)) return kind
  if (couldBecome(start, Object.keys(FRAMES) as Format[])) throw input.endsWithin("a frame's magic number")
  const message = `the archive goes on after its last ${current ?? 'skippable'} frame with ${hex(start)}`
  throw new VmapipeError('DAMAGED', message, { offset: input.position })
}

/** "Skippable Frames" (RFC 8878, section 3.1.2): magic number, length, anything. */
async function skipFrame({ input }: DecoderContext): Promise<void> {
  const header = Buffer.allocUnsafe(8)
  await input.readWhole(header, 'a skippable frame')
  for (let left = header.readUInt32LE(4); left > 0; ) {
    const taken = await input.take(left)
    if (taken === null) throw input.endsWithin('a skippable frame')
    for (const { length } of taken.buffers) left -= length
    for (const lease of taken.leases) lease.release()
  }
}
