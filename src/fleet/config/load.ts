/** Loads the planner's config. All errors in it are CONFIG, with file, line, column and path. */

import { dirname, isAbsolute, resolve } from 'node:path'
import { parseConfig, pathText } from '../../config/document.ts'
import { describe, VmapipeError } from '../../core/errors.ts'
import { problemsOf } from '../../core/problems.ts'
import { withoutUnions } from '../../jobs/file/union-issues.ts'
import { readSmallFile } from '../../storage/config-file.ts'
import { knownKeys } from './json-schema.ts'
import { type FleetConfig, fleetSchema } from './schema.ts'

const MOST_BYTES = 256 << 10
const PATHS = ['tls-cert', 'tls-key', 'database-password-file', 'jobs'] as const

export async function loadFleetConfig(path: string): Promise<FleetConfig> {
  let text: string
  try {
    const bytes = await readSmallFile(path, MOST_BYTES)
    if (bytes.length > MOST_BYTES) throw new Error('larger than 256 KiB')
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new VmapipeError('CONFIG', `cannot read the config of the fleet: ${describe(cause as Error)}`, {
      file: path,
      cause,
    })
  }
  return readFleetConfig(path, text)
}

/** `file` is for messages, and for paths in it, which count from its folder. */
export function readFleetConfig(file: string, text: string): FleetConfig {
  const document = parseConfig(file, text)
  // An empty file is a config in which nothing is set.
  const value = document.value ?? {}
  const checked = fleetSchema.safeParse(value)
  if (!checked.success) {
    const errors = problemsOf(withoutUnions(checked.error, value), value, knownKeys).map(
      ({ path, key, message, hint }) => {
        const what = path.length === 0 ? message : `${pathText(path)}: ${message}`
        return new VmapipeError('CONFIG', `${file}:${document.position(path, key)}: ${what}`, { hint })
      },
    )
    errors[0].suppressed.push(...errors.slice(1))
    throw errors[0]
  }
  const config = checked.data
  for (const key of PATHS) {
    const path = config[key]
    if (path !== undefined && !isAbsolute(path)) config[key] = resolve(dirname(file), path)
  }
  return config
}
