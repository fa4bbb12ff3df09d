/** Names of archives for Proxmox in the folders that they go to. */

import { refuseCompression, vzdumpName } from '../../machine/proxmox/archive-name.ts'
import { compressionOf, parseCompression } from '../compression.ts'
import { isFolder } from '../since/naming.ts'
import type { WritingOptions } from '../write-archive.ts'

type Targets = Pick<WritingOptions, 'to' | 'also' | 'compress' | 'since' | 'encrypt' | 'ctime'>

/**
 * The same places with the names of archives in those that are folders. If the archive may be incremental, its name is decided later.
 * Throws USAGE for a compression that Proxmox does not know.
 */
export function namedTargets<T extends Targets>(options: T, vmid: number): T {
  const { to, also, since, ctime } = options
  const time = ctime === undefined ? new Date() : new Date(ctime * 1000)
  const named = (place: string) => {
    const method = methodFor(place, options)
    refuseCompression(method)
    if (!isFolder(place) || since !== undefined) return place
    return `${place}${vzdumpName({ vmid, time }, method)}${options.encrypt === undefined ? '' : '.age'}`
  }
  return {
    ...options,
    to: typeof to === 'string' ? named(to) : to,
    ...(also !== undefined && { also: also.map((place) => ({ ...place, to: named(place.to) })) }),
  }
}

function methodFor(place: string, { compress }: Targets): string {
  if (compress !== undefined) return typeof compress === 'string' ? parseCompression(compress).method : compress.method
  return isFolder(place) ? 'zstd' : compressionOf(place).method
}
