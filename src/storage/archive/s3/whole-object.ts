/** Small objects as a whole: the index beside an archive in a bucket. */

import { createHash } from 'node:crypto'
import { VmapipeError } from '../../../core/errors.ts'
import { S3Client } from './client.ts'
import { statObject } from './objects.ts'
import { RangeReader } from './range-reader.ts'
import { S3Error } from './s3-error.ts'
import { S3Target } from './s3-target.ts'
import { parseS3, s3Name } from './s3-url.ts'

/** Reads an object of at most `most` bytes; null if there is none. */
export async function readObject(spec: string, most: number): Promise<Buffer | null> {
  const reader = await RangeReader.open(parseS3(spec), {}).catch((error) => {
    // Some stores say 403 of what is not there. If all is forbidden, the archive itself says so.
    if (error instanceof S3Error && error.status >= 400 && error.status < 500) return null
    throw error
  })
  if (reader === null) return null
  try {
    if (reader.size > most)
      throw new VmapipeError('DAMAGED', `'${reader.name}' has ${reader.size} bytes, which is too many`)
    const bytes = Buffer.alloc(reader.size)
    await reader.read(bytes, 0)
    return bytes
  } finally {
    await reader.close()
  }
}

/** Writes an object whole. Throws FAILED if it exists, unless `force` is given. */
export async function writeObject(
  spec: string,
  buffers: readonly Uint8Array[],
  options: { force?: boolean; warn?: (message: string) => void },
): Promise<void> {
  const target = new S3Target(parseS3(spec), options)
  try {
    await target.open()
    await target.write(buffers)
    await target.finish()
  } finally {
    await target.abort()
  }
}

/** What tells an object from one that replaced it: its size, and a number made of its ETag. */
export async function objectIdentity(spec: string): Promise<{ size: bigint; mtime: bigint }> {
  const place = parseS3(spec)
  const client = await S3Client.open(place.bucket)
  try {
    const found = await statObject(client, place.key)
    if (found === null) throw new VmapipeError('FAILED', `'${s3Name(place)}' does not exist`)
    return { size: BigInt(found.size), mtime: createHash('sha256').update(found.etag).digest().readBigInt64BE() }
  } finally {
    client.close()
  }
}
