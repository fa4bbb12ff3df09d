/** A bucket as a place where archives are. The client is loaded when it is needed. */

import { posix } from 'node:path'
import type { ListOptions, Place, PlaceEntry } from '../place.ts'
import { archiveTarget } from '../target.ts'
import { farSource, openFarBytes } from '../volumes/far-archive.ts'
import type { S3Client } from './client.ts'
import { type S3Place, s3Name } from './s3-url.ts'

export function s3Place(place: S3Place): Place {
  const { bucket, key } = place
  const spec = s3Name(place)
  return {
    can: { noReplace: true, durable: true, serverCopy: true },
    target: (options) => archiveTarget(spec, options),
    source: (options) => farSource(place, options),
    ranges: (options) => openFarBytes(place, options),
    stat: () => look(bucket, key),
    list: (options) => listPrefix(bucket, key.slice(0, key.lastIndexOf('/') + 1), options),
    remove: () => remove(bucket, key),
  }
}

async function look(bucket: string, key: string): Promise<PlaceEntry | null> {
  const { client, objects } = await asking(bucket)
  try {
    const found = await objects.statObject(client, key)
    return found && { name: posix.basename(key), size: found.size, modified: isoOf(found.modified) }
  } finally {
    client.close()
  }
}

/** The objects with this prefix that are in no folder below it, or in one of those that are there. */
async function* listPrefix(
  bucket: string,
  prefix: string,
  { folders = false, signal }: ListOptions = {},
): AsyncGenerator<PlaceEntry> {
  const { client, objects } = await asking(bucket)
  try {
    const asked = { ...(!folders && { delimiter: '/' }), ...(signal && { signal }) }
    for await (const { key, size, modified } of objects.listObjects(client, prefix, asked)) {
      const name = key.slice(prefix.length)
      if (name.split('/').length <= 2 && !name.endsWith('/')) yield { name, size, modified: isoOf(modified) }
    }
  } finally {
    client.close()
  }
}

async function remove(bucket: string, key: string): Promise<void> {
  const { client, objects } = await asking(bucket)
  try {
    await objects.removeObject(client, key)
  } finally {
    client.close()
  }
}

async function asking(bucket: string): Promise<{ client: S3Client; objects: typeof import('./objects.ts') }> {
  const [{ S3Client }, objects] = await Promise.all([import('./client.ts'), import('./objects.ts')])
  return { client: await S3Client.open(bucket), objects }
}

function isoOf(text: string): string | null {
  const time = Date.parse(text)
  return Number.isNaN(time) ? null : new Date(time).toISOString()
}
