/**
 * The names of the files that an archive is restored to: `disk-NAME.raw` (or `vmstate.bin`) and the config files,
 * as the real tool names them. The names come out of the archive, so none may lead out of the folder or meet another.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { DriveInfo, Manifest } from '../../core/items.ts'
import { CONFIG_NAMES, driveEntry } from './header.ts'

export interface RestoreNames {
  /** File name of each drive, by dev_id. */
  drives: Map<number, string>
  /** File name of each config file, in the order of the manifest. */
  configs: string[]
}

/** Throws DAMAGED where a name would lead out of the target folder, or two are the same; says where the header has it. */
export function restoreNames({ drives, configs }: Pick<Manifest, 'drives' | 'configs'>): RestoreNames {
  const taken = new Set<string>()
  const claim = (file: string, what: string, offset: number): string => {
    const problem = taken.has(file)
      ? `would be restored to '${file}' like another file of the archive`
      : nameProblem(file)
    if (problem !== null) throw new VmapipeError('DAMAGED', `${what} ${problem}`, { offset })
    taken.add(file)
    return file
  }
  const driveName = ({ id, name }: DriveInfo) => claim(driveFile(name), `the drive name '${name}'`, driveEntry(id))
  return {
    drives: new Map(drives.map((drive) => [drive.id, driveName(drive)])),
    configs: configs.map(({ name }) => claim(name, `the config name '${name}'`, CONFIG_NAMES)),
  }
}

function driveFile(name: string): string {
  return name === 'vmstate' ? 'vmstate.bin' : `disk-${name}.raw`
}

/** Why no file of a folder may have this name; null when it may. */
export function nameProblem(name: string): string | null {
  if (name === '' || name === '.' || name === '..') return 'is not the name of a file'
  if (/[/\\]/.test(name)) return 'has a slash in it: it would lead out of the target folder'
  if (/[\x00-\x1f\x7f]/.test(name)) return 'has control characters in it'
  return null
}
