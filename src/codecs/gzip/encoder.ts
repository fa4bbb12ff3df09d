/** Makes gzip members (RFC 1952) by zlib, in libuv's thread pool. An extra field states a member's length, so that readers can split them. */

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { discard } from '../../core/memory.ts'
import { encodeMemberHeader, MEMBER_HEADER_SIZE } from '../../formats/gzip/member.ts'
import type { FrameEncoder } from '../frame-encoder.ts'

const compress = promisify(gzip)

/** Bytes of zlib's own header, which has no optional fields. */
const PLAIN_HEADER_SIZE = 10

export function gzipEncoder(level: number): FrameEncoder {
  return {
    bound,
    async encode(content, frame) {
      const member = await compress(content, { level, chunkSize: frame.length })
      const body = member.subarray(PLAIN_HEADER_SIZE)
      const filled = encodeMemberHeader(MEMBER_HEADER_SIZE + body.length).copy(frame)
      const length = filled + body.copy(frame, filled)
      discard(member)
      return length
    },
  }
}

/** zlib's deflateBound for any settings, header and trailer included. */
function bound(bytes: number): number {
  return bytes + (bytes >>> 3) + 1024
}
