/** What an object in a store can have besides its bytes: a lock, a storage class, encryption by the store, tags. */

import { VmapipeError } from '../../../core/errors.ts'

/** What an object has besides its bytes. */
export interface ObjectOptions {
  /** Nobody can remove or replace the object before this time (Object Lock, COMPLIANCE), such as `2027-06-01` or `2027-06-01T12:00:00Z`. */
  retainUntil?: string
  /** Such as STANDARD_IA or GLACIER_IR. */
  storageClass?: string
  /** `AES256`, `aws:kms`, or `aws:kms:KEY`. */
  sse?: string
  /** Up to ten names with a value each. */
  tags?: Readonly<Record<string, string>>
}

/** The header with the time until which nobody can remove an object. */
export const RETAIN_UNTIL = 'x-amz-object-lock-retain-until-date'
/** The header that says ON if nobody can remove an object until that is taken back. */
export const LEGAL_HOLD = 'x-amz-object-lock-legal-hold'

/** The headers for these options. Throws USAGE for those that make no sense. */
export function objectHeaders({ retainUntil, storageClass, sse, tags = {} }: ObjectOptions): Record<string, string> {
  const headers: Record<string, string> = {}
  if (retainUntil !== undefined) {
    headers['x-amz-object-lock-mode'] = 'COMPLIANCE'
    headers[RETAIN_UNTIL] = timeOf(retainUntil)
  }
  if (storageClass !== undefined) headers['x-amz-storage-class'] = word(storageClass, 'the storage class')
  if (sse !== undefined) {
    const [, method, key] = /^(AES256|aws:kms)(?::(.+))?$/.exec(sse) ?? []
    if (method === undefined || (method === 'AES256' && key !== undefined))
      throw usage(`'${sse}' is no encryption that a store does`, 'AES256, aws:kms or aws:kms:KEY')
    headers['x-amz-server-side-encryption'] = method
    if (key !== undefined) headers['x-amz-server-side-encryption-aws-kms-key-id'] = word(key, 'the key')
  }
  const pairs = Object.entries(tags)
  if (pairs.length > 10) throw usage(`${pairs.length} tags are too many`, 'a store takes 10 for an object')
  if (pairs.length > 0) headers['x-amz-tagging'] = pairs.map((pair) => pair.map(encodeURIComponent).join('=')).join('&')
  return headers
}

function timeOf(text: string): string {
  const time = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(time)) throw usage(`'${text}' is not a time`, 'such as 2027-06-01 or 2027-06-01T12:00:00Z')
  if (time <= Date.now())
    throw usage(`${text}, until which the archive is to be retained, has passed`, 'give a later time')
  return new Date(time).toISOString()
}

function word(text: string, what: string): string {
  if (!/^[\x21-\x7e]{1,2048}$/.test(text))
    throw usage(`${what} '${text}' has characters that it cannot have`, 'check it')
  return text
}

function usage(message: string, hint: string): VmapipeError {
  return new VmapipeError('USAGE', message, { hint })
}
