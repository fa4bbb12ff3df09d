/**
 * Finds the frames of a compressed archive without a map, by a pass from one to the next. It helps only if each frame can be decoded
 * by itself, in memory. Frames of pzstd can be, and ours.
 */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Turns } from '../core/turns.ts'
import { type Format, recognise } from '../formats/compression.ts'
import { wrapperLength } from '../formats/frame-map/container.ts'
import { type Frame, FrameMapEntries, footerOf, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import { MEMBER_HEADER_SIZE, MEMBER_TRAILER_SIZE, memberContentSize, memberLength } from '../formats/gzip/member.ts'
import {
  decodeLz4BlockSize,
  isOurLz4,
  LZ4_BLOCK_SIZE_FIELD,
  LZ4_HEADER_LIMIT,
  LZ4_TRAILER_SIZE,
  readLz4Header,
} from '../formats/lz4/frame.ts'
import { SKIPPABLE_HEADER_SIZE, skippableLength } from '../formats/skippable.ts'
import { readZstdHeader, ZSTD_HEADER_LIMIT, ZstdParts } from '../formats/zstd/frame.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { ForwardReader } from './forward-reader.ts'
import { zstdContentBytes } from './whole-frame.ts'

/** The largest frame that is useful, and its largest content (32 MiB). */
const FRAME_LIMIT = 32 << 20
/** The most bytes of the map in memory (64 MiB), which is about ten million frames. */
const MOST_MAP = 64 << 20

interface WalkedFrames {
  /** Encoded as at the end of an archive (formats/frame-map/README.md). */
  map: Buffer
  /** The reason why the pass ended before the end of the file, or null. */
  problem: VmapipeError | null
}

interface WalkOptions {
  /** Decode frames that do not declare their content size, to find it. */
  decode?: boolean
  /** The most bytes of the map. */
  most?: number
  signal?: AbortSignal | undefined
}

/** Finds the frames. Throws USAGE if some cannot be decoded by themselves, or if there are too many. */
export async function walkFrames(
  file: ArchiveBytes,
  { decode = false, most = MOST_MAP, signal }: WalkOptions = {},
): Promise<WalkedFrames> {
  const walk = new FrameWalk(file, decode)
  const frames = new FrameMapEntries()
  const turns = new Turns()
  let problem: VmapipeError | null = null
  try {
    for (let offset = 0; offset < file.size; ) {
      await turns.take()
      signal?.throwIfAborted()
      const frame = await walk.frameAt(offset)
      if (Math.max(frame.bytes, frame.contentBytes) > FRAME_LIMIT && frame.contentBytes > 0) throw notSmallFrames()
      if (offset + frame.bytes > file.size) throw cut(file)
      frames.add(frame.bytes, frame.contentBytes)
      if (frames.length > most) throw tooMany(frames.count)
      offset += frame.bytes
      // Bytes behind the footer do not belong to the archive (core/behind.ts).
      if (frame.contentBytes === 0 && frame.bytes <= TAIL_SIZE && (await walk.isFooted(offset))) break
    }
  } catch (error) {
    problem = asVmapipeError(error)
    if (problem.code !== 'DAMAGED' && problem.code !== 'INCOMPLETE') throw problem
  }
  return { map: Buffer.concat(frames.finish()), problem }
}

class FrameWalk {
  readonly #file: ArchiveBytes
  readonly #decode: boolean
  readonly #reader: ForwardReader

  constructor(file: ArchiveBytes, decode: boolean) {
    this.#file = file
    this.#decode = decode
    this.#reader = new ForwardReader(file)
  }

  async frameAt(offset: number): Promise<Frame> {
    const start = await this.#start(offset, 4)
    const kinds: Partial<Record<Format, () => Promise<Frame>>> = {
      zstd: () => this.#zstd(offset),
      lz4: () => this.#lz4(offset),
      gzip: () => this.#gzip(offset),
      skippable: () => this.#skippable(offset),
    }
    const format = recognise(start)
    const kind = format && kinds[format]
    if (kind !== undefined) return kind()
    if (format !== undefined || offset === 0) throw notSmallFrames()
    throw new VmapipeError('DAMAGED', 'no compressed frame begins here', { offset })
  }

  /** The first bytes of a frame; fewer than `length` at the end of the file. */
  #start(offset: number, length: number): Promise<Buffer> {
    return this.#read(offset, Math.min(length, this.#file.size - offset))
  }

  #read(offset: number, length: number): Promise<Buffer> {
    return this.#reader.read(offset, length, 'a frame')
  }

  /** Whether a footer ends at byte `end`, with its map and all its frames before it. */
  async isFooted(end: number): Promise<boolean> {
    const length = Math.min(TAIL_SIZE, end)
    const footer = footerOf(await this.#read(end - length, length))
    return footer !== null && footer.frameBytes + footer.wrappedBytes + footer.length === end
  }

  async #skippable(offset: number): Promise<Frame> {
    return { bytes: skippableLength(await this.#read(offset, SKIPPABLE_HEADER_SIZE)), contentBytes: 0 }
  }

  async #zstd(offset: number): Promise<Frame> {
    const header = readZstdHeader(await this.#start(offset, ZSTD_HEADER_LIMIT), offset)
    if (header === null) throw cut(this.#file)
    const { length, contentSize } = header
    if ((contentSize ?? 0) > FRAME_LIMIT) throw notSmallFrames()
    const parts = new ZstdParts(header)
    let at = offset + length
    while (!parts.ended) {
      at += parts.next(await this.#read(at, parts.needed), at)
      if (at - offset > FRAME_LIMIT) throw notSmallFrames()
    }
    return { bytes: at - offset, contentBytes: contentSize ?? (await this.#measure(offset, at - offset)) }
  }

  async #measure(offset: number, length: number): Promise<number> {
    if (!this.#decode) throw notSmallFrames()
    if (offset + length > this.#file.size) throw cut(this.#file)
    const frame = Buffer.allocUnsafeSlow(length)
    await this.#file.read(frame, offset)
    return zstdContentBytes(frame, FRAME_LIMIT, offset)
  }

  /** A frame as we write it. */
  async #lz4(offset: number): Promise<Frame> {
    const header = readLz4Header(await this.#start(offset, LZ4_HEADER_LIMIT), offset)
    if (header === null) throw cut(this.#file)
    if (header.contentSize === undefined || !isOurLz4(header)) throw notSmallFrames()
    let at = offset + header.length
    for (;;) {
      const size = decodeLz4BlockSize(await this.#read(at, LZ4_BLOCK_SIZE_FIELD), header, at)
      if (size === null) return { bytes: at + LZ4_TRAILER_SIZE - offset, contentBytes: header.contentSize }
      at += LZ4_BLOCK_SIZE_FIELD + size.length
      if (at - offset > FRAME_LIMIT) throw notSmallFrames()
    }
  }

  async #gzip(offset: number): Promise<Frame> {
    const start = await this.#start(offset, MEMBER_HEADER_SIZE)
    const wrapper = wrapperLength(start)
    if (wrapper !== undefined) return { bytes: wrapper, contentBytes: 0 }
    const bytes = memberLength(start, offset)
    if (bytes === undefined) throw notSmallFrames()
    const trailer = await this.#read(offset + bytes - MEMBER_TRAILER_SIZE, MEMBER_TRAILER_SIZE)
    return { bytes, contentBytes: memberContentSize(trailer) }
  }
}

function cut(file: ArchiveBytes): VmapipeError {
  return new VmapipeError('INCOMPLETE', 'the archive ends within a frame', { offset: file.size })
}

function tooMany(frames: number): VmapipeError {
  return new VmapipeError(
    'USAGE',
    `this compressed archive has no map of its frames, and more than ${frames} of them`,
    {
      hint: UNPACK,
    },
  )
}

const UNPACK =
  'commands that read it unpack it first, into the folder of --spool; or make another archive of it with `vmapipe repack`'

export function notSmallFrames(): VmapipeError {
  return new VmapipeError(
    'USAGE',
    'this compressed archive does not consist of small frames: it can only be read from front to back',
    {
      hint: UNPACK,
    },
  )
}
