/** Reads `s3://bucket/key`. The key is taken as it is written: a % in it is a %. */

import { VmapipeError } from '../../../core/errors.ts'

export interface S3Place {
  kind: 's3'
  bucket: string
  /** Empty for the bucket itself; a key that ends in / is a prefix. Neither names an archive. */
  key: string
}

/** Stores of others allow capital letters, underscores and long names, which AWS has given up. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/

/** The most bytes of a key: S3 API reference, "Object key naming guidelines". */
const LONGEST_KEY = 1024

const EXAMPLE = 'such as s3://bucket/vm.vma.zst'

/** Reads the name of an archive in a bucket. Throws USAGE. */
export function parseS3(spec: string): S3Place {
  const place = parseS3Prefix(spec)
  if (place.key === '') throw usage(`'${spec}' names no archive in the bucket`, `add a name, ${EXAMPLE}`)
  if (place.key.endsWith('/')) throw usage(`'${spec}' is not the name of an archive`, 'add a name behind the last /')
  return place
}

/** Reads a bucket, with or without the beginning of keys. Throws USAGE. */
export function parseS3Prefix(spec: string): S3Place {
  const [, bucket, key = ''] = /^s3:\/\/([^/]*)(?:\/(.*))?$/s.exec(spec) ?? []
  if (bucket === undefined) throw usage(`'${spec}' is not s3://bucket/name`, EXAMPLE)
  if (!BUCKET.test(bucket)) throw usage(`'${bucket}' is not the name of a bucket`, EXAMPLE)
  if (Buffer.byteLength(key) > LONGEST_KEY || !key.isWellFormed())
    throw usage(`the name in '${spec.slice(0, 80)}' is longer than ${LONGEST_KEY} bytes, or is not UTF-8`, EXAMPLE)
  // URLs lose such parts on the way, and then another object is meant.
  const odd = key.replace(/\/$/, '').split('/')
  if (key !== '' && odd.some((part) => part === '' || part === '.' || part === '..'))
    throw usage(`'${spec}' has an empty part, '.' or '..' in its name`, EXAMPLE)
  return { kind: 's3', bucket, key }
}

/** Whether a place is in a store. A file whose name begins like this is written as ./s3:... */
export function isS3(spec: string): boolean {
  return spec.startsWith('s3://')
}

/** The place as a user writes it. */
export function s3Name({ bucket, key }: Pick<S3Place, 'bucket' | 'key'>): string {
  return `s3://${bucket}/${key}`
}

function usage(message: string, hint: string): VmapipeError {
  return new VmapipeError('USAGE', message, { hint })
}
