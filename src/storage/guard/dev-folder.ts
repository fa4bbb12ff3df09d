/** Refuses new files in /dev: a name without a device is a typing error, and a file there would fill the memory of the host. */

import { realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'

/** Folders of /dev that are for files. Each is usually a filesystem of its own. */
const FOR_FILES = ['/dev/shm', '/dev/mqueue', '/dev/hugepages']

/** Throws USAGE if a new file at `path`, or new files in this folder, would be among the devices. */
export async function refuseAmongDevices(path: string, parent = dirname(path)): Promise<void> {
  const folder = await nearestFolder(parent)
  if (folder === null || FOR_FILES.some((allowed) => isWithin(folder, allowed))) return
  const [here, dev, root] = await Promise.all([folder, '/dev', '/'].map((one) => stat(one).catch(() => null)))
  if (here === null || dev === null || here.dev !== dev.dev) return
  // If /dev is no filesystem of its own, its device number tells nothing.
  if (dev.dev === root?.dev && !isWithin(folder, '/dev')) return
  throw new VmapipeError('USAGE', 'there is no device of this name, and no file is made among devices', {
    file: path,
    hint: 'is the name right, and is the device there?',
  })
}

/** The folder, or the first existing one above it, without symbolic links. */
async function nearestFolder(path: string): Promise<string | null> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await realpath(folder).catch(() => null)
    if (found !== null) return found
    if (folder === dirname(folder)) return null
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`)
}
