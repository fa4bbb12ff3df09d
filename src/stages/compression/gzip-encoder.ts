/** gzip members (RFC 1952) by zlib in libuv's pool. An extra field of ours tells a member's length, so that readers split them. */

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { encodeMemberHeader, MEMBER_HEADER_SIZE } from '../../formats/gzip/member.ts'
import { chargedChunk, type FrameEncoder } from './encoder.ts'

const compress = promisify(gzip)

/** zlib's own header, without any optional field. */
const PLAIN_HEADER_SIZE = 10

export function gzipEncoder(level: number): FrameEncoder {
  return {
    bound,
    encode(bytes, outputs, chunkSize) {
      return chargedChunk(outputs, chunkSize, async () => {
        const body = (await compress(bytes, { level, chunkSize })).subarray(PLAIN_HEADER_SIZE)
        return [encodeMemberHeader(MEMBER_HEADER_SIZE + body.length), body]
      })
    },
  }
}

/** zlib's deflateBound for any settings, header and trailer included. */
function bound(bytes: number): number {
  return bytes + (bytes >>> 3) + 1024
}
