/** Decodes gzip members. Members that state their length (ours) are decoded in parallel; any other as a stream, whose end zlib finds. */

import { promisify } from 'node:util'
import { crc32, createGunzip, createInflateRaw, gunzip, inflateRaw } from 'node:zlib'
import type { Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { discard } from '../../core/memory.ts'
import { startsWrapper } from '../../formats/frame-map/container.ts'
import {
  GZIP_MAGIC,
  gzipHeaderLength,
  HEADER_START,
  MEMBER_HEADER_SIZE,
  MEMBER_TRAILER_SIZE,
  memberContentSize,
  memberLength,
} from '../../formats/gzip/member.ts'
import { passFooter } from '../archive-footer.ts'
import { wholeContent } from '../content-memory.ts'
import { collectSize, type DecoderContext, STREAM_PIECE } from '../decoder-context.ts'
import type { FrameSequence, Part } from '../frame-sequence.ts'
import type { FrameStart, PullInput } from '../pull-input.ts'
import { damagedFrame, runZlib, type Write } from '../zlib-stream.ts'

const decompress = promisify(gunzip)
/** Inflates without checking the checksum. */
const inflate = promisify(inflateRaw)
const MEMBER = 'a gzip member'

/** Only our members can be found behind damage: others begin with two bytes that are too common. */
const OURS: FrameStart = { magic: [HEADER_START], couldBe: () => true }

export class GzipMembers implements FrameSequence {
  readonly part = MEMBER
  readonly formats = ['gzip' as const]
  readonly padded = true
  readonly start = OURS
  last: string | undefined

  next(start: Buffer): Part | null {
    if (start.length < 2 || start.readUInt16LE() !== GZIP_MAGIC) return null
    if (startsWrapper(start)) return { decode: passWrapper, isEmpty: true }
    this.last = 'gzip member'
    return { decode: decodeMember }
  }
}

async function decodeMember(context: DecoderContext): Promise<void> {
  const { input, inputs, maxContent, recovery } = context
  const offset = input.position
  const limit = collectSize(maxContent)
  recovery.sawFrame(true)
  const length = memberLength(await input.peek(MEMBER_HEADER_SIZE), offset)
  if (length === undefined || length > limit) return decodeForeign(context)
  const slab = await inputs.take(limit)
  try {
    const member = slab.buffer.subarray(0, length)
    await readMember(input, member, offset)
    if (memberContentSize(member) <= maxContent) await decodeOurs(context, slab, member, offset)
    else await decodeLarge(context, member, offset)
  } finally {
    slab.release()
  }
}

/** Reads a member. If another member begins within it and none can follow it, its length is wrong: its bytes are then put back. */
async function readMember(input: PullInput, member: Buffer, offset: number): Promise<void> {
  const read = member.subarray(0, await input.read(member))
  if (read.length === member.length && mayFollow(await input.peek(2))) return
  if (read.indexOf(HEADER_START, 1) >= 0) {
    input.giveBack(Buffer.from(read))
    throw damaged(`claims to be ${member.length} bytes long, and another begins within`, offset)
  }
  if (read.length < member.length) throw input.endsWithin(MEMBER)
}

/** Whether these bytes may follow a member: another member, padding, or the end. */
function mayFollow(bytes: Buffer): boolean {
  return bytes.length < 2 || bytes[0] === 0 || bytes.readUInt16LE() === GZIP_MAGIC
}

async function decodeOurs({ order, outputs, recovery }: DecoderContext, slab: Slab, member: Buffer, offset: number) {
  const size = memberContentSize(member)
  let content: Buffer | null = null
  const lease = await outputs.charge(size, () => content && discard(content))
  slab.retain()
  const settings = wholeContent(size)
  const work = async () => {
    try {
      content = await decompress(member, settings)
      if (content.length !== size) throw damaged(`declares ${size} bytes and holds ${content.length}`, offset)
      return new Chunk([content], [lease])
    } catch (error) {
      const damage = damagedFrame('gzip', error, offset)
      content = await inflate(member.subarray(MEMBER_HEADER_SIZE, -MEMBER_TRAILER_SIZE), settings).catch(() => null)
      if (content?.length === size) return recovery.doubt(damage, content, lease)
      lease.release()
      return recovery.gap(damage)
    } finally {
      slab.release()
    }
  }
  await order.add(work)
}

/** Decodes a member that is small but has more content than fits into memory at once. */
async function decodeLarge(context: DecoderContext, member: Buffer, offset: number): Promise<void> {
  const engine = createGunzip({ chunkSize: STREAM_PIECE })
  await runZlib(context, engine, 'gzip', offset, async (write) => {
    if ((await write(member)) > 0) throw damaged('is shorter than it claims', offset)
  })
}

/** The longest header that is read (256 KiB), with an extra field, a name and a comment. */
const HEADER_LIMIT = 256 << 10

/** Decodes a member that does not state its length. zlib finds its end. */
async function decodeForeign(context: DecoderContext): Promise<void> {
  const { input } = context
  const offset = input.position
  await input.skip(await headerLength(input, offset))
  const engine = createInflateRaw({ chunkSize: STREAM_PIECE })
  let checksum = 0
  const total = await runZlib(
    context,
    engine,
    'gzip',
    offset,
    (write) => inflateFrom(input, write),
    (bytes) => {
      checksum = crc32(bytes, checksum)
    },
  )
  const trailer = Buffer.alloc(MEMBER_TRAILER_SIZE)
  await input.readWhole(trailer, MEMBER)
  if (trailer.readUInt32LE(0) !== checksum) throw damaged('does not match its checksum', offset)
  if (trailer.readUInt32LE(4) !== total % 2 ** 32) throw damaged('does not hold as much as it says', offset)
}

async function headerLength(input: PullInput, offset: number): Promise<number> {
  for (let looked = 512; ; looked *= 8) {
    const start = await input.peek(looked)
    const length = gzipHeaderLength(start, offset)
    if (length !== undefined) return length
    if (start.length < looked)
      throw new VmapipeError('INCOMPLETE', `the archive ends within ${MEMBER}`, { offset: offset + start.length })
    if (looked > HEADER_LIMIT) throw damaged('has a header without an end', offset)
  }
}

/** Gives the engine the bytes that it uses. Bytes behind them stay in the input. */
async function inflateFrom(input: PullInput, write: Write): Promise<void> {
  for (;;) {
    const view = await input.view()
    if (view === null) throw input.endsWithin(MEMBER)
    const [bytes] = view.buffers
    try {
      const left = await write(bytes)
      await input.skip(bytes.length - left)
      if (left > 0) return
    } finally {
      for (const lease of view.leases) lease.release()
    }
  }
}

/** Skips an empty member that wraps a part of the map of the archive's frames, or the footer. */
async function passWrapper(context: DecoderContext): Promise<void> {
  await decodeForeign(context)
  await passFooter(context)
}

function damaged(what: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `${MEMBER} ${what}`, { offset })
}
