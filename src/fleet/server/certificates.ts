/** The certificate of the server and its key. Their files are replaced while the planner runs, as certificates of our time are short. */

import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { describe, VmapipeError } from '../../core/errors.ts'

export interface CertificateFiles {
  cert: string
  key: string
}

/** Older versions of TLS have known weaknesses, and every client of ours speaks this one. */
export const OLDEST_TLS = 'TLSv1.2'

export interface Certificate {
  cert: Buffer
  key: Buffer
  minVersion: typeof OLDEST_TLS
}

/** Throws CONFIG with one line if a file cannot be read or is of no use, or if they do not belong together. */
export async function readCertificate({ cert, key }: CertificateFiles): Promise<Certificate> {
  const read = (path: string, what: string) =>
    readFile(path).catch((cause) => {
      throw new VmapipeError('CONFIG', `cannot read the ${what}: ${describe(cause)}`, { file: path, cause })
    })
  const found = { cert: await read(cert, 'certificate'), key: await read(key, 'key'), minVersion: OLDEST_TLS } as const
  try {
    createSecureContext(found)
  } catch (cause) {
    throw new VmapipeError('CONFIG', `'${cert}' and '${key}' are no certificate and its key: ${reasonOf(cause)}`, {
      hint: 'both are PEM files without a passphrase; the certificate of the server is the first in its file',
      cause,
    })
  }
  return found
}

/** Whether it is another one. */
export function isSame(one: Certificate, other: Certificate): boolean {
  return one.cert.equals(other.cert) && one.key.equals(other.key)
}

/** OpenSSL says `error:05800074:x509 certificate routines::key values mismatch`. */
function reasonOf(cause: unknown): string {
  return String((cause as Error).message)
    .split(':')
    .at(-1)!
    .trim()
}
