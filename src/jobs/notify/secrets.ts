/** Reads secrets of notifications from the files that a job names. They are in no message, and in no argument of a program. */

import { open, readFile } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { UrlOrFile } from './schema.ts'

const LONGEST = 16 * 1024

/** The first line of a file, in which a secret is. Throws FAILED if it cannot be read, is empty, or everybody may read it. */
export async function readSecret(path: string): Promise<string> {
  const file = await open(path).catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
  try {
    const { mode } = await file.stat()
    if ((mode & 0o004) !== 0) {
      throw new VmapipeError('FAILED', `every user of this machine may read the secret in '${path}'`, {
        file: path,
        hint: `chmod 600 ${path}`,
      })
    }
    const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST), 0, LONGEST, 0)
    const [line] = buffer.toString('utf8', 0, bytesRead).split('\n')
    const secret = line.trim()
    if (secret === '') throw new VmapipeError('FAILED', `the first line of '${path}' is empty`, { file: path })
    return secret
  } finally {
    await file.close()
  }
}

/** The URL itself. Throws FAILED, without the URL in the message. */
export async function readUrl(from: UrlOrFile): Promise<URL> {
  const text = typeof from === 'string' ? from : await readSecret(from.file)
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    const where = typeof from === 'string' ? {} : { file: from.file }
    throw new VmapipeError('FAILED', 'what is to be notified is no URL of http or https', where)
  }
  return url
}

/** The text of a file with certificates. Throws FAILED if it cannot be read. */
export function readCertificates(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
}
