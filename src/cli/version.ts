/** The version of this package. */

import { readFileSync } from 'node:fs'

export function version(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      if (name === 'vmapipe') return version
    } catch {
      // It is not there: try the other place.
    }
  }
  return 'unknown'
}
