/** What `list` prints of a bucket. */

import { printable, VmapipeError } from '../../core/errors.ts'
import { parseS3Prefix } from '../../storage/archive/s3/s3-url.ts'
import { print } from '../text.ts'

interface BucketFlags {
  json?: boolean
  uploads?: boolean
  abortUploads?: boolean
}

/** Whether `list` is about a bucket and not about an archive in it. Throws USAGE for flags that do not fit. */
export function isOfBucket(from: string, { uploads, abortUploads }: BucketFlags): boolean {
  const isStore = from.startsWith('s3://')
  const isOfUploads = uploads || abortUploads
  if (isOfUploads && !isStore) {
    throw new VmapipeError('USAGE', '--uploads and --abort-uploads are for a bucket', { hint: 'such as s3://bucket/' })
  }
  return isStore && (isOfUploads || /^$|\/$/.test(parseS3Prefix(from).key))
}

/** Prints the archives there, or the uploads that are not finished. */
export async function listBucket(
  from: string,
  { json, uploads, abortUploads }: BucketFlags,
  signal: AbortSignal,
): Promise<void> {
  const { bucketObjects, bucketUploads } = await import('../../operations/bucket.ts')
  const { bucket } = parseS3Prefix(from)
  const entries: object[] = []
  const show = (entry: object, line: string) => {
    if (json) entries.push(entry)
    else print(line)
  }
  if (uploads || abortUploads) {
    for await (const { key, id, begun } of bucketUploads({ from, abort: abortUploads, signal })) {
      const name = `s3://${bucket}/${key}`
      const entry = { name, id, begun, aborted: abortUploads === true }
      show(entry, printable(`${begun}  ${abortUploads ? 'aborted  ' : ''}${name}`))
    }
  } else {
    for await (const { key, size, modified } of bucketObjects({ from, signal })) {
      const name = `s3://${bucket}/${key}`
      show({ name, size, modified }, printable(`${modified}  ${String(size).padStart(14)}  ${name}`))
    }
  }
  if (json) print(JSON.stringify(entries, null, 2))
}
