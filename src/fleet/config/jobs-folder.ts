/** Central jobs as files in a folder of the planner: what is there is what hosts get. */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError, describe, printable, VmapipeError } from '../../core/errors.ts'
import { readSmallFile } from '../../storage/config-file.ts'
import type { PeopleSide } from '../fleet.ts'

const SUFFIX = /\.(ya?ml|json)$/
const MOST_BYTES = 256 << 10

type Central = Pick<PeopleSide, 'centralJobs' | 'putCentralJob' | 'removeCentralJob'>

/**
 * Makes the central jobs those of the folder. A file that is wrong is told, and the job stays as it was: hosts go on with it. Throws CONFIG if
 * the folder cannot be read: nothing is removed then.
 */
export async function takeJobsOf(folder: string, people: Central, warn: (line: string) => void): Promise<void> {
  const entries = await readdir(folder).catch((cause) => {
    throw new VmapipeError('CONFIG', `cannot read the folder of central jobs: ${describe(cause)}`, {
      file: folder,
      cause,
    })
  })
  const files = entries.filter((entry) => SUFFIX.test(entry) && !entry.startsWith('.')).sort()
  const before = new Map((await people.centralJobs()).map(({ name, text }) => [name, text]))
  const names = new Set<string>()
  for (const entry of files) {
    const name = entry.replace(SUFFIX, '')
    if (names.has(name))
      warn(`${printable(join(folder, entry))}: there is another file of the job '${printable(name)}'`)
    if (names.has(name)) continue
    names.add(name)
    try {
      const bytes = await readSmallFile(join(folder, entry), MOST_BYTES)
      if (bytes.length > MOST_BYTES) throw new VmapipeError('CONFIG', `${entry}: larger than 256 KiB`)
      const text = bytes.toString()
      if (text !== before.get(name)) await people.putCentralJob(name, text)
    } catch (error) {
      const stays = before.has(name) ? '; the job stays as it was' : ''
      warn(`central job: ${asVmapipeError(error).text}${stays}`)
    }
  }
  for (const name of before.keys()) if (!names.has(name)) await people.removeCentralJob(name)
}
