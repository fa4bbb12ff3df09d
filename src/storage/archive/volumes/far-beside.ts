/** What is beside a volume on another host or in a bucket. It is hostile until the list was checked. */

import { openFarFile } from '../far-file.ts'
import type { RangeOptions } from '../place.ts'
import { volumesCommand } from '../remote-place-script.ts'
import type { S3Place } from '../s3/s3-url.ts'
import type { FarPlace, SshPlace } from '../spec.ts'
import { answers } from '../ssh-answers.ts'
import { MOST_LIST_BYTES } from './list.ts'
import { listName } from './names.ts'

export interface Beside {
  /** The text of the list, of which a bounded part is read; null if there is none. */
  list: string | null
  /** The sizes of the volumes that are there, by their numbers. */
  sizes: ReadonlyMap<number, number>
}

/** Looks beside the volume for those of the archive with this name. Errors: FAILED. */
export function besideVolume(place: FarPlace, base: string, options: RangeOptions): Promise<Beside> {
  return place.kind === 'ssh' ? onHost(place, base, options) : inBucket(place, base, options)
}

/** In one session: each costs round trips. */
async function onHost(place: SshPlace, base: string, { signal }: RangeOptions): Promise<Beside> {
  const sizes = new Map<number, number>()
  let list: string | null = null
  for await (const said of answers(place, volumesCommand, [Buffer.from(base, 'latin1')], signal)) {
    const [, number, size] = /^volume (\d{3}) (\d{1,15})$/.exec(said) ?? []
    if (said === 'list') list = ''
    else if (said.startsWith('line ') && list !== null && list.length < MOST_LIST_BYTES) list += `${said.slice(5)}\n`
    else if (size !== undefined) sizes.set(Number(number), Number(size))
  }
  return { list, sizes }
}

async function inBucket(place: S3Place, base: string, options: RangeOptions): Promise<Beside> {
  const [{ S3Client }, { listObjects }] = await Promise.all([import('../s3/client.ts'), import('../s3/objects.ts')])
  const { signal, warn } = options
  const sizes = new Map<number, number>()
  let hasList = false
  const client = await S3Client.open(place.bucket, { warn })
  try {
    for await (const { key, size } of listObjects(client, `${base}.`, { delimiter: '/', ...(signal && { signal }) })) {
      const [, number] = /^\.(\d{3})$/.exec(key.slice(base.length)) ?? []
      if (number !== undefined) sizes.set(Number(number), size)
      else hasList ||= key === listName(base)
    }
  } finally {
    client.close()
  }
  return { list: hasList ? await textOf({ ...place, key: listName(base) }, options) : null, sizes }
}

async function textOf(place: S3Place, options: RangeOptions): Promise<string> {
  const bytes = await openFarFile(place, options)
  try {
    const text = Buffer.alloc(Math.min(bytes.size, MOST_LIST_BYTES))
    await bytes.read(text, 0)
    return text.toString('latin1')
  } finally {
    await bytes.close()
  }
}
