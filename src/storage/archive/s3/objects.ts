/** What can be asked of a store about its objects, and about uploads that were never finished. */

import { createHash } from 'node:crypto'
import { VmapipeError } from '../../../core/errors.ts'
import { RetainedArchive } from '../retained.ts'
import type { S3Client } from './client.ts'
import type { Answer } from './exchange.ts'
import { LEGAL_HOLD, RETAIN_UNTIL } from './object-options.ts'
import { S3Error } from './s3-error.ts'
import { s3Name } from './s3-url.ts'
import { childOf, parseXml, textOf, type XmlElement } from './xml.ts'

export interface ObjectInfo {
  size: number
  etag: string
  /** As the store writes it. */
  modified: string
  /** The mark of the upload that made it; see upload.ts. */
  mark: string | undefined
}

/** The header with the mark of an upload, which HEAD gives back. */
export const MARK = 'x-amz-meta-vmapipe-upload'

/** Looks at an object; null if there is none. */
export async function statObject(client: S3Client, key: string, signal?: AbortSignal): Promise<ObjectInfo | null> {
  try {
    const { headers } = await client.ask({ method: 'HEAD', key, signal })
    const { etag = '', 'last-modified': modified = '', [MARK]: mark } = headers
    return {
      size: Number(headers['content-length']),
      etag,
      modified,
      mark: typeof mark === 'string' ? mark : undefined,
    }
  } catch (error) {
    if (error instanceof S3Error && error.status === 404) return null
    throw error
  }
}

/** Removes an object. Throws RetainedArchive for one that is locked. A store with versions would only hide that one, and go on to keep it. */
export async function removeObject(client: S3Client, key: string): Promise<void> {
  const headers = await client.ask({ method: 'HEAD', key }).then(
    (answer) => answer.headers,
    (error) => {
      if (error instanceof S3Error && error.status === 404) return null
      throw error
    },
  )
  if (headers === null) return
  const name = s3Name({ bucket: client.bucket, key })
  const until = Date.parse(String(headers[RETAIN_UNTIL] ?? ''))
  if (until > Date.now()) throw new RetainedArchive(name, `is locked until ${new Date(until).toISOString()}`)
  if (headers[LEGAL_HOLD] === 'ON') throw new RetainedArchive(name, 'is under legal hold')
  await client.ask({ method: 'DELETE', key })
}

export interface ListedObject {
  key: string
  size: number
  modified: string
}

/** All objects whose keys begin with `prefix`, a page at a time. With a delimiter, only those without it behind the prefix. */
export async function* listObjects(
  client: S3Client,
  prefix: string,
  { delimiter, signal }: { delimiter?: string; signal?: AbortSignal } = {},
): AsyncGenerator<ListedObject> {
  const asked = { 'list-type': '2', prefix, ...(delimiter !== undefined && { delimiter }) }
  let token = ''
  for (;;) {
    const query = { ...asked, ...(token !== '' && { 'continuation-token': token }) }
    const page = documentOf(await client.ask({ method: 'GET', query, signal }), 'ListBucketResult')
    for (const entry of page.children.filter(({ name }) => name === 'Contents')) {
      yield { key: textOf(entry, 'Key'), size: Number(textOf(entry, 'Size')), modified: textOf(entry, 'LastModified') }
    }
    const next = textOf(page, 'NextContinuationToken')
    if (textOf(page, 'IsTruncated') !== 'true' || next === '' || next === token) return
    token = next
  }
}

export interface Upload {
  key: string
  id: string
  /** When it was begun, as the store writes it. */
  begun: string
}

/** All uploads that were begun and are neither finished nor aborted, a page at a time. */
export async function* listUploads(client: S3Client, prefix: string, signal?: AbortSignal): AsyncGenerator<Upload> {
  let marker: Record<string, string> = {}
  for (;;) {
    const answer = await client.ask({ method: 'GET', query: { uploads: '', prefix, ...marker }, signal })
    const page = documentOf(answer, 'ListMultipartUploadsResult')
    for (const entry of page.children.filter(({ name }) => name === 'Upload')) {
      yield { key: textOf(entry, 'Key'), id: textOf(entry, 'UploadId'), begun: textOf(entry, 'Initiated') }
    }
    const next = { 'key-marker': textOf(page, 'NextKeyMarker'), 'upload-id-marker': textOf(page, 'NextUploadIdMarker') }
    // A store that gives the same page again and again has no end.
    if (textOf(page, 'IsTruncated') !== 'true' || JSON.stringify(next) === JSON.stringify(marker)) return
    marker = next
  }
}

/** Aborts an upload. One that is not there any more is as good. */
export async function abortUpload(
  client: S3Client,
  { key, id }: Pick<Upload, 'key' | 'id'>,
  attempts?: number,
): Promise<void> {
  try {
    await client.ask({ method: 'DELETE', key, query: { uploadId: id }, attempts })
  } catch (error) {
    if (!(error instanceof S3Error && error.status === 404)) throw error
  }
}

/** Locks the object until this time (ISO 8601), unless the store says that it has done so. Throws if it is not locked then. */
export async function lockObject(client: S3Client, key: string, until: string): Promise<void> {
  const { headers } = await client.ask({ method: 'HEAD', key })
  if (Math.abs(Date.parse(String(headers[RETAIN_UNTIL])) - Date.parse(until)) < 2000) return
  const body = Buffer.from(`<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`)
  const md5 = createHash('md5').update(body).digest('base64')
  await client.ask({ method: 'PUT', key, query: { retention: '' }, headers: { 'content-md5': md5 }, body: [body] })
  const { body: answer } = await client.ask({ method: 'GET', key, query: { retention: '' } })
  const found = parseXml(answer.toString())
  if (found?.name !== 'Retention' || textOf(found, 'Mode') !== 'COMPLIANCE')
    throw new VmapipeError('FAILED', 'the store does not lock objects', {
      hint: 'was the bucket made for Object Lock?',
    })
}

/** The document that the store answered, whose root must have this name. */
export function documentOf({ body }: Answer, name: string): XmlElement {
  const root = parseXml(body.toString())
  if (root?.name === name) return root
  if (root?.name === 'Error')
    throw new VmapipeError('FAILED', `the store answered ${textOf(root, 'Code')} ${textOf(root, 'Message')}`)
  throw new VmapipeError('FAILED', `the store's answer is no ${name}`, { hint: 'is the endpoint that of an S3 store?' })
}

/** The text of a child that must be there. */
export function needed(element: XmlElement, name: string): string {
  const text = childOf(element, name)?.text ?? ''
  if (text === '' || text.length > 4096) throw new VmapipeError('FAILED', `the store's answer has no ${name}`)
  return text
}
