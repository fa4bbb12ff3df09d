/** What is in a bucket: archives, and uploads that were never finished. */

import { S3Client } from '../storage/archive/s3/client.ts'
import { abortUpload, type ListedObject, listObjects, listUploads, type Upload } from '../storage/archive/s3/objects.ts'
import { parseS3Prefix } from '../storage/archive/s3/s3-url.ts'

interface BucketOptions {
  /** `s3://bucket/`, or with the beginning of names. */
  from: string
  signal?: AbortSignal
}

/** All objects there. Errors: USAGE, FAILED, ABORTED. */
export async function* bucketObjects({ from, signal }: BucketOptions): AsyncGenerator<ListedObject> {
  const { bucket, key } = parseS3Prefix(from)
  const client = await S3Client.open(bucket)
  try {
    yield* listObjects(client, key, { signal })
  } finally {
    client.close()
  }
}

/** All uploads there that are not finished. With `abort`, each is aborted before it is given. */
export async function* bucketUploads({
  from,
  abort = false,
  signal,
}: BucketOptions & { abort?: boolean }): AsyncGenerator<Upload> {
  const { bucket, key } = parseS3Prefix(from)
  const client = await S3Client.open(bucket)
  try {
    // They are listed before the first is aborted, so that no page moves.
    const uploads: Upload[] = []
    for await (const upload of listUploads(client, key, signal)) if (uploads.push(upload) >= MOST_UPLOADS) break
    for (const upload of uploads) {
      if (abort) await abortUpload(client, upload)
      yield upload
    }
  } finally {
    client.close()
  }
}

/** Uploads that are kept in memory. If there are more, the next call has them. */
const MOST_UPLOADS = 10_000
