/** Certificates of an authority of the test's own, made by openssl. */

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Authority {
  /** The file of its certificate, which clients are given. */
  ca: string
  /** Makes a certificate for these names, such as `IP:127.0.0.1,DNS:localhost`. */
  issue(name: string, options?: { names?: string; days?: number }): { cert: string; key: string }
}

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}

export function makeAuthority(folder: string, name = 'ca'): Authority {
  const file = (one: string) => join(folder, `${name}-${one}`)
  const ca = file('ca.pem')
  openssl('req', '-x509', ...EC, '-days', '2', '-subj', `/CN=${name}`, '-keyout', file('ca.key'), '-out', ca)
  return {
    ca,
    issue(one, { names = 'IP:127.0.0.1,DNS:localhost', days = 1 } = {}) {
      const [cert, key, request, extensions] = ['pem', 'key', 'csr', 'ext'].map((kind) => file(`${one}.${kind}`))
      openssl('req', '-new', ...EC, '-subj', `/CN=${one}`, '-keyout', key, '-out', request)
      writeFileSync(extensions, `subjectAltName=${names}\n`)
      const signed = ['-CA', ca, '-CAkey', file('ca.key'), '-CAcreateserial', '-days', String(days)]
      openssl('x509', '-req', '-in', request, ...signed, '-extfile', extensions, '-out', cert)
      return { cert, key }
    },
  }
}
