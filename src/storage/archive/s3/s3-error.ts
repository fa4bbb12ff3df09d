/** Says in words what a store's refusal means, and what to do. What the store says is cut and escaped: it may be hostile. */

import { type ErrorCode, printable, VmapipeError } from '../../../core/errors.ts'
import type { Answer } from './exchange.ts'
import type { S3Settings } from './settings.ts'
import { parseXml, textOf } from './xml.ts'

/** An answer that is no success. */
export class S3Error extends VmapipeError {
  readonly status: number
  /** The store's own word for it, such as NoSuchBucket; empty if it gave none. */
  readonly reason: string

  constructor(
    code: ErrorCode,
    message: string,
    { status, reason, hint }: { status: number; reason: string; hint?: string },
  ) {
    super(code, message, { hint })
    this.status = status
    this.reason = reason
  }
}

export interface Asked {
  /** The place in question, as a user writes it. */
  name: string
  bucket: string
  settings: S3Settings
}

/** A clock that is more than 15 minutes wrong is refused; a quarter of that is worth a word. */
const SKEW_MS = 4 * 60_000

/** Makes an error of an answer. */
export function refusal({ status, headers, body }: Answer, { name, bucket, settings }: Asked): S3Error {
  const document = body.byteLength > 65536 ? null : parseXml(body.toString())
  const root = document?.name === 'Error' ? document : null
  const reason = root === null ? '' : clip(textOf(root, 'Code'), 60)
  const said = [String(status), reason, root === null ? '' : clip(textOf(root, 'Message'), 300)]
    .filter(Boolean)
    .join(' ')
  const make = (message: string, hint?: string, code: ErrorCode = 'FAILED') =>
    new S3Error(code, message, { status, reason, hint })

  const skew = Date.parse(headers.date ?? '') - Date.now()
  if (reason === 'RequestTimeTooSkewed' || ((status === 403 || status === 400) && Math.abs(skew) > SKEW_MS)) {
    const minutes = Math.round(Math.abs(skew) / 60_000)
    const by = Number.isFinite(skew)
      ? `is ${minutes} minutes ${skew > 0 ? 'behind' : 'ahead of'} the store's`
      : "differs from the store's"
    return make(
      `${name}: the clock of this computer ${by}, and the store refuses such requests (${said})`,
      'set the clock',
    )
  }
  const region = clip(String(headers['x-amz-bucket-region'] ?? (root === null ? '' : textOf(root, 'Region'))), 64)
  if ((status >= 300 && status < 400) || reason === 'AuthorizationHeaderMalformed') {
    if (region !== '' && region !== settings.region)
      return make(`bucket '${bucket}' is in region ${region}, not in ${settings.region}`, `set AWS_REGION=${region}`)
    return make(
      `${name}: the store sends elsewhere, which is not followed (${said})`,
      'check AWS_REGION and AWS_ENDPOINT_URL',
    )
  }
  switch (reason) {
    case 'NoSuchBucket':
      return make(
        `bucket '${bucket}' does not exist at ${settings.endpoint.host}`,
        'make it first, or check the name, AWS_REGION and AWS_ENDPOINT_URL',
      )
    case 'InvalidAccessKeyId':
      return make(
        `${name}: the store does not know the access key of ${settings.origin} (${said})`,
        'check the key and AWS_ENDPOINT_URL',
      )
    case 'SignatureDoesNotMatch':
      return make(
        `${name}: the secret key of ${settings.origin} does not belong to its access key (${said})`,
        'check the secret key and AWS_REGION',
      )
    case 'ExpiredToken':
    case 'TokenRefreshRequired':
      return make(`${name}: the session token of ${settings.origin} has expired (${said})`, 'get new credentials')
    case 'InvalidStorageClass':
      return make(`${name}: the store does not have this storage class (${said})`, undefined, 'USAGE')
  }
  if (status === 404) return make(`'${name}' does not exist (${said})`, 'check the name')
  if (status === 403 || status === 401)
    return make(`${name}: access denied (${said})`, `the credentials of ${settings.origin} are not allowed to do this`)
  return make(`${name}: the store answered ${said}`)
}

function clip(text: string, most: number): string {
  return printable(text.length > most ? `${text.slice(0, most)}…` : text)
}
