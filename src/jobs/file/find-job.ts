/** Finds job files: by their paths, or by names in the folders for them. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { didYouMean } from '../../core/suggest.ts'
import { jobFolders } from '../state/folders.ts'

const SUFFIX = /\.(ya?ml|json)$/

/** A job file that is where job files are looked for. */
export interface JobPlace {
  name: string
  file: string
}

/** The jobs in the folders for them, by name. */
export async function installedJobs(folders = jobFolders()): Promise<JobPlace[]> {
  const jobs = new Map<string, JobPlace>()
  for (const folder of folders) {
    for (const entry of (await readdir(folder).catch(() => [])).sort()) {
      if (!SUFFIX.test(entry) || entry.startsWith('.')) continue
      const name = entry.replace(SUFFIX, '')
      if (!jobs.has(name)) jobs.set(name, { name, file: join(folder, entry) })
    }
  }
  return [...jobs.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** The path of the job that the user means by a path or a name. Throws CONFIG if there is none. */
export async function findJob(given: string, folders = jobFolders()): Promise<string> {
  if (given.includes('/') || SUFFIX.test(given)) return given
  const jobs = await installedJobs(folders)
  const found = jobs.find(({ name }) => name === given)
  if (found !== undefined) return found.file
  if (await stat(given).catch(() => null)) return given
  const names = jobs.map(({ name }) => name)
  throw new VmapipeError('CONFIG', `there is no job '${given}'`, {
    hint: didYouMean(given, names) ?? `name a file, or put ${given}.yaml into ${folders.join(' or ')}`,
  })
}
