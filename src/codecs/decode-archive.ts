/** Decodes an archive of any compression to the bytes of the VMA archive within. The compression is recognised by the bytes. */

import { goesOnBehind, hex } from '../core/behind.ts'
import { VmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { couldBecome, MAGIC_LIMIT, recognise } from '../formats/compression.ts'
import { START, type Start } from './archive-end.ts'
import { ProgramStream } from './bzip2-xz.ts'
import type { DecoderContext } from './decoder-context.ts'
import type { FrameSequence } from './frame-sequence.ts'
import { GzipMembers } from './gzip/decoder.ts'
import { LzopMembers } from './lzop/decoder.ts'
import type { PullInput } from './pull-input.ts'
import { ZstdLz4Frames } from './zstd-lz4-frames.ts'

/** Decodes to the end of the input, and checks that the archive ends there. */
export async function decodeArchive(context: DecoderContext): Promise<void> {
  const start = await context.input.peek(MAGIC_LIMIT)
  const format = recognise(start)
  if (format === undefined) throw unknown(start)
  context.onFormat(format)
  if (format === 'vma') await passThrough(context)
  else if (format === 'gzip') await decodeSequence(context, new GzipMembers())
  else if (format === 'lzop') await decodeSequence(context, new LzopMembers())
  else if (format === 'bzip2' || format === 'xz') await decodeSequence(context, new ProgramStream(format))
  else await decodeSequence(context, new ZstdLz4Frames())
}

/** Bytes that are shown of a file that is no archive. */
const SHOWN = 9

function unknown(start: Buffer): VmapipeError {
  if (start.length === 0) return new VmapipeError('INCOMPLETE', 'the archive is empty', { offset: 0 })
  if (couldBecome(start)) {
    return new VmapipeError('INCOMPLETE', `the archive ends after ${start.length} bytes`, { offset: start.length })
  }
  return new VmapipeError(
    'DAMAGED',
    `this is not a VMA archive, compressed or not: it begins with ${hex(start, SHOWN)}`,
    {
      offset: 0,
      hint: 'it may be vma, or vma compressed with zstd, lz4, gzip, lzop, bzip2 or xz',
    },
  )
}

/** Passes the chunks of an uncompressed archive on as they are. */
async function passThrough({ input, order }: DecoderContext): Promise<void> {
  for (let taken = await input.take(); taken !== null; taken = await input.take()) {
    await order.pass(new Chunk(taken.buffers, taken.leases))
  }
  await order.drain()
}

/** Decodes frames or members, one behind the other. Other bytes between or behind them are behind the end of the archive, or damage. */
async function decodeSequence(context: DecoderContext, sequence: FrameSequence): Promise<void> {
  const { input, order, recovery, end } = context
  for (;;) {
    const start: Start = { offset: input.position, bytes: await input.peek(START) }
    if (start.bytes.length === 0) break
    const part = sequence.next(start.bytes)
    if (part === null || !part.isEmpty) order.afterwards(() => void end.judge(start))
    // Whether this still belongs to the archive is known when everything before it has been passed on.
    if (part === null) await order.drain()
    if (part === null && sequence.padded && !end.isArchive && (await passZeroes(input))) continue
    if (!end.isOver) {
      const decode = async () => {
        if (part === null) throw noPart(sequence, start)
        await part.decode(context)
      }
      await recovery.attempt(input, start, decode, sequence.start)
    }
    if (end.isOver) return passOver(context)
  }
  // The input may have ended before all content was passed on. Until then it is not known whether the last parts were behind the archive's end.
  await order.drain()
  if (end.isOver) return passOver(context)
  if (sequence.last === undefined) throw input.endsWithin('skippable frames')
}

/** Skips zeroes. Returns whether there were any. */
async function passZeroes(input: PullInput): Promise<boolean> {
  const before = input.position
  for (let view = await input.view(); view !== null; view = await input.view()) {
    const [bytes] = view.buffers
    const zeroes = bytes.findIndex((byte) => byte !== 0)
    await input.skip(zeroes < 0 ? bytes.length : zeroes)
    for (const lease of view.leases) lease.release()
    if (zeroes >= 0) break
  }
  return input.position > before
}

function noPart({ last, formats, part }: FrameSequence, { offset, bytes }: Start): VmapipeError {
  if (!couldBecome(bytes, formats)) return goesOnBehind(last ?? 'skippable frame', offset, bytes)
  return new VmapipeError('INCOMPLETE', `the archive ends within ${part}`, { offset: offset + bytes.length })
}

/** Skips the bytes behind the end of the archive, and reports them. */
async function passOver({ input, end, order, recovery, onBehind }: DecoderContext): Promise<void> {
  await order.drain()
  await input.skipAll()
  const { offset, bytes } = end.behind
  if (bytes.length === 0) return
  const damage = end.damage(input.position)
  if (damage === null) onBehind(offset, bytes)
  else recovery.report(damage)
}
