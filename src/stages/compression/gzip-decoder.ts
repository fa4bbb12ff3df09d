/** A gzip stream: members that tell their length (ours) one beside the other, all others in a stream to the end. */

import { promisify } from 'node:util'
import { createGunzip, gunzip } from 'node:zlib'
import { discard, type Slab } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { MEMBER_HEADER_SIZE, memberContentSize, memberLength } from '../../formats/gzip/member.ts'
import { collectSize, type DecoderContext, STREAM_PIECE } from './decoder.ts'
import { damagedFrame, runEngine } from './engine.ts'
import type { Inlet } from './inlet.ts'

const decompress = promisify(gunzip)
const MEMBER = 'a gzip member'

export async function decodeGzip(context: DecoderContext): Promise<void> {
  const { input, inputs, maxContent } = context
  const limit = collectSize(maxContent)
  for (;;) {
    const offset = input.position
    const start = await input.peek(MEMBER_HEADER_SIZE)
    if (start.length === 0) return
    if (start[0] === 0 && offset > 0) return eachView(input, checkPadding)
    const length = memberLength(start, offset)
    if (length === undefined || length > limit) return decodeRest(context)
    const slab = await inputs.take(limit)
    const member = slab.buffer.subarray(0, length)
    await input.readWhole(member, MEMBER)
    if (memberContentSize(member) <= maxContent) await decodeMember(context, slab, member, offset)
    else await decodeLarge(context, slab, member, offset)
  }
}

async function decodeMember({ order, outputs }: DecoderContext, slab: Slab, member: Buffer, offset: number) {
  const size = memberContentSize(member)
  let content: Buffer | null = null
  const lease = await outputs.charge(size, () => content && discard(content))
  const settings = { chunkSize: Math.max(64, size + 1), maxOutputLength: Math.max(1, size) }
  const work = async () => {
    try {
      content = await decompress(member, settings)
      if (content.length !== size) throw damaged(`declares ${size} bytes and holds ${content.length}`, offset)
      return new Chunk([content], [lease])
    } catch (error) {
      lease.release()
      throw damagedFrame('gzip', error, offset)
    } finally {
      slab.release()
    }
  }
  await order.add(work)
}

/** Small compressed, large when it is not: frames of more content than we would hold at once. */
async function decodeLarge(context: DecoderContext, slab: Slab, member: Buffer, offset: number): Promise<void> {
  const engine = createGunzip({ chunkSize: STREAM_PIECE })
  await runEngine(context, engine, 'gzip', offset, async (write) => {
    if ((await write(member)) > 0) throw damaged('is shorter than it claims', offset)
  })
  slab.release()
}

/** Everything to the end of the stream: zlib goes from member to member, and checks CRC32 and ISIZE of each. */
async function decodeRest(context: DecoderContext): Promise<void> {
  const { input } = context
  const engine = createGunzip({ chunkSize: STREAM_PIECE })
  try {
    await runEngine(context, engine, 'gzip', input.position, async (write) => {
      let ended = false
      await eachView(input, async (bytes, end) => {
        const left: number = ended ? bytes.length : await write(bytes)
        ended ||= left > 0
        checkPadding(bytes.subarray(bytes.length - left), end)
      })
    })
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    throw cause?.code === 'Z_BUF_ERROR' ? input.endsWithin(MEMBER) : error
  }
}

/** All that is left of the input, with where in the archive each view ends. */
async function eachView(input: Inlet, see: (bytes: Buffer, end: number) => Promise<void> | void): Promise<void> {
  for (let end = input.position, taken = await input.take(); taken !== null; taken = await input.take()) {
    for (const bytes of taken.buffers) {
      end += bytes.length
      await see(bytes, end)
    }
    for (const lease of taken.leases) lease.release()
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
