/** Reads the token of an agent from its file. */

import { open } from 'node:fs/promises'
import { describe, VmapipeError } from '../../core/errors.ts'

const MOST_BYTES = 4096
const OTHERS = 0o077

/** Errors: USAGE for a file that others may read, or that holds no token. */
export async function readTokenFile(path: string): Promise<string> {
  const file = await open(path).catch((cause) => {
    throw new VmapipeError('USAGE', `the token cannot be read: ${describe(cause)}`, { file: path, cause })
  })
  try {
    const { mode, size } = await file.stat()
    if ((mode & OTHERS) !== 0) {
      throw new VmapipeError('USAGE', `others may read the token in '${path}'`, {
        hint: `chmod 600 ${path}; if somebody has read it, make another one: vmapipe fleet token`,
      })
    }
    const token = size > MOST_BYTES ? '' : (await file.readFile('utf8')).trim()
    // What is no header of HTTP is no token.
    if (/^[\x21-\x7e]{8,1024}$/.test(token)) return token
    throw new VmapipeError('USAGE', `there is no token in '${path}'`, { hint: 'vmapipe fleet token prints one' })
  } finally {
    await file.close()
  }
}
