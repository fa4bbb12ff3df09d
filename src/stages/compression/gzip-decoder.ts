/** A gzip stream: members that tell their length (ours) one beside the other, all others in a stream to the end. */

import { promisify } from 'node:util'
import { createGunzip, gunzip, inflateRaw } from 'node:zlib'
import { discard, type Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import {
  GZIP_MAGIC,
  HEADER_START,
  MEMBER_HEADER_SIZE,
  MEMBER_TRAILER_SIZE,
  memberContentSize,
  memberLength,
} from '../../formats/gzip/member.ts'
import { collectSize, type DecoderContext, STREAM_PIECE } from './decoder.ts'
import { damagedFrame, runEngine } from './engine.ts'
import type { FrameStart, Inlet } from './inlet.ts'

const decompress = promisify(gunzip)
/** Without a look at the checksum. */
const inflate = promisify(inflateRaw)
const MEMBER = 'a gzip member'

/** Only our members can be found behind damage: others begin with two bytes that are everywhere. */
const OURS: FrameStart = { magic: [HEADER_START], couldBe: () => true }

export async function decodeGzip(context: DecoderContext): Promise<void> {
  const { input, recovery } = context
  for (;;) {
    const start = await input.peek(MEMBER_HEADER_SIZE)
    if (start.length === 0) return
    await recovery.attempt(input, () => decodeNext(context, start), OURS)
  }
}

async function decodeNext(context: DecoderContext, start: Buffer): Promise<void> {
  const { input, inputs, maxContent, recovery } = context
  const offset = input.position
  const limit = collectSize(maxContent)
  if (start[0] === 0 && offset > 0) return eachView(input, checkPadding)
  recovery.sawFrame(true)
  const length = memberLength(start, offset)
  if (length === undefined || length > limit) return decodeRest(context)
  const slab = await inputs.take(limit)
  try {
    const member = slab.buffer.subarray(0, length)
    await readMember(input, member, offset)
    if (memberContentSize(member) <= maxContent) await decodeMember(context, slab, member, offset)
    else await decodeLarge(context, member, offset)
  } finally {
    slab.release()
  }
}

/** The member. Where nothing follows it that could, and another one begins within, its length lies: then it is given back. */
async function readMember(input: Inlet, member: Buffer, offset: number): Promise<void> {
  const read = member.subarray(0, await input.read(member))
  if (read.length === member.length && mayFollow(await input.peek(2))) return
  if (read.indexOf(HEADER_START, 1) >= 0) {
    input.giveBack(Buffer.from(read))
    throw damaged(`claims to be ${member.length} bytes long, and another begins within`, offset)
  }
  if (read.length < member.length) throw input.endsWithin(MEMBER)
}

/** Another member, padding, or the end. */
function mayFollow(bytes: Buffer): boolean {
  return bytes.length < 2 || bytes[0] === 0 || bytes.readUInt16LE() === GZIP_MAGIC
}

async function decodeMember({ order, outputs, recovery }: DecoderContext, slab: Slab, member: Buffer, offset: number) {
  const size = memberContentSize(member)
  let content: Buffer | null = null
  const lease = await outputs.charge(size, () => content && discard(content))
  slab.retain()
  const settings = { chunkSize: Math.max(64, size + 1), maxOutputLength: Math.max(1, size) }
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

/** Small compressed, large when it is not: frames of more content than we would hold at once. */
async function decodeLarge(context: DecoderContext, member: Buffer, offset: number): Promise<void> {
  const engine = createGunzip({ chunkSize: STREAM_PIECE })
  await runEngine(context, engine, 'gzip', offset, async (write) => {
    if ((await write(member)) > 0) throw damaged('is shorter than it claims', offset)
  })
}

/** Everything to the end of the stream: zlib goes from member to member, and checks CRC32 and ISIZE of each. */
async function decodeRest(context: DecoderContext): Promise<void> {
  const { input, order } = context
  const before = order.passed
  const nothingYet = () => order.passed === before
  const engine = createGunzip({ chunkSize: STREAM_PIECE })
  try {
    await runEngine(context, engine, 'gzip', input.position, async (write) => {
      let ended = false
      const decode = async (bytes: Buffer, end: number) => {
        const left: number = ended ? bytes.length : await write(bytes)
        ended ||= left > 0
        checkPadding(bytes.subarray(bytes.length - left), end)
      }
      await eachView(input, decode, nothingYet)
    })
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    throw cause?.code === 'Z_BUF_ERROR' ? input.endsWithin(MEMBER) : error
  }
}

/**
 * All that is left of the input, with where in the archive each view ends. Where `see` throws, the views from this one on are
 * the input's again if `keep` says so: there may be members in them.
 */
async function eachView(
  input: Inlet,
  see: (bytes: Buffer, end: number) => Promise<void> | void,
  keep: () => boolean = () => false,
): Promise<void> {
  for (let end = input.position, taken = await input.take(); taken !== null; taken = await input.take()) {
    let seen = 0
    try {
      for (const bytes of taken.buffers) {
        end += bytes.length
        await see(bytes, end)
        seen++
      }
    } catch (error) {
      if (keep()) input.giveBack(Buffer.concat(taken.buffers.slice(seen)))
      throw error
    } finally {
      for (const lease of taken.leases) lease.release()
    }
  }
}

/** gzip ignores zeroes after the last member, as tapes leave them; nothing else may be there. */
function checkPadding(bytes: Buffer, end: number): void {
  const index = bytes.findIndex((byte) => byte !== 0)
  if (index < 0) return
  throw new VmapipeError('DAMAGED', 'the archive goes on after its last gzip member', {
    offset: end - bytes.length + index,
  })
}

function damaged(what: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `${MEMBER} ${what}`, { offset })
}
