/**
 * Names the files that an archive is restored to, as the real tool does: `disk-NAME.raw` (or `vmstate.bin`) and the config files.
 * The names come from the archive, so none may lead out of the target folder, and no two may be the same.
 */

import { bytesOf } from '../../core/byte-text.ts'
import { printable, VmapipeError } from '../../core/errors.ts'
import type { ConfigFile, DriveInfo, Manifest } from '../../core/items.ts'
import { CONFIG_NAMES, driveEntry } from './header-fields.ts'

type Named = Pick<Manifest, 'drives' | 'configs'>

interface RestoreNames {
  /** File name of each drive, by dev_id. */
  drives: Map<number, string>
  /** File name of each config file, in the order of the manifest; null if a later config file has the same name and data. */
  configs: (string | null)[]
  /** One line for each file that is restored under another name. */
  notes: string[]
}

/**
 * Names all files. `formats` of the images, by dev_id: raw unless given. Throws DAMAGED if a name leads out of the target folder or two
 * drives have one name. The error has its place.
 */
export function restoreNames({ drives, configs }: Named, formats?: ReadonlyMap<number, string>): RestoreNames {
  const taken = new Set<string>()
  const fileOf = ({ id, name }: DriveInfo) => driveFile(name, formats?.get(id))
  for (const drive of drives) {
    const file = fileOf(drive)
    const problem = taken.has(file) ? 'is that of two drives' : fileProblem(file)
    if (problem !== null)
      throw new VmapipeError('DAMAGED', `the drive name '${drive.name}' ${problem}`, { offset: driveEntry(drive.id) })
    taken.add(file)
  }
  for (const { name } of configs) {
    const problem = fileProblem(name)
    if (problem !== null)
      throw new VmapipeError('DAMAGED', `the config name '${name}' ${problem}`, { offset: CONFIG_NAMES })
  }
  const notes: string[] = []
  return {
    drives: new Map(drives.map((drive) => [drive.id, fileOf(drive)])),
    configs: configFiles(configs, taken, notes),
    notes,
  }
}

/** If several config files have one name, the last keeps it, as with the real tool. The others get a number behind their name. */
function configFiles(configs: readonly ConfigFile[], taken: Set<string>, notes: string[]): (string | null)[] {
  const owners = new Map(configs.map((config) => [config.name, config]))
  const names = new Set([...taken, ...owners.keys()])
  return configs.map((config) => {
    const { name } = config
    const owner = owners.get(name)!
    if (config === owner && !taken.has(name)) return name
    if (config !== owner && Buffer.compare(config.data, owner.data) === 0) return null
    const file = freeName(name, names)
    names.add(file)
    const whose = taken.has(name) ? 'as a drive has this name' : 'as there are several of this name'
    notes.push(`the config file '${name}' is restored as '${file}', ${whose}`)
    return file
  })
}

function freeName(name: string, names: ReadonlySet<string>): string {
  for (let number = 1; ; number++) if (!names.has(`${name}.${number}`)) return `${name}.${number}`
}

function driveFile(name: string, format = 'raw'): string {
  return name === 'vmstate' ? 'vmstate.bin' : `disk-${name}.${format}`
}

/** The reason why no file may have this name, or null. */
function fileProblem(name: string): string | null {
  if (name === '' || name === '.' || name === '..') return 'is not the name of a file'
  if (/[/\\]/.test(name)) return 'has a slash in it: it would lead out of the target folder'
  if (/[\x00-\x1f\x7f]/.test(name)) return 'has control characters in it'
  return null
}

/**
 * The longest name of a restored file, in bytes. Filesystems allow 255. The suffixes that we add (`.damaged`, `.overlay.map`, a
 * number) take up to 25.
 */
const LONGEST_FILE = 230

/** The reason why a backup refuses a name that the user gave, or null. */
export function nameProblem(name: string): string | null {
  const problem = fileProblem(name)
  if (problem !== null) return problem
  if (/[\p{Cc}\p{Cs}\ufffd\u2028\u2029]/u.test(name)) return 'has characters in it that cannot be printed'
  return null
}

/** Refuses names that no restore could make files of, before a backup begins. Throws USAGE. */
export function refuseNames({ drives, configs }: { drives: readonly string[]; configs: readonly string[] }): void {
  const files = new Set<string>()
  const claim = (what: string, name: string, file: string) => {
    const length = bytesOf(file).length
    const problem =
      nameProblem(name) ??
      (length > LONGEST_FILE ? `is too long: restored, the file's name would have ${length} bytes` : null) ??
      (files.has(file) ? `is not alone: another file of the archive would be restored to '${file}' too` : null)
    if (problem !== null) throw new VmapipeError('USAGE', `the ${what} name '${name}' ${problem}`, { hint: HINT })
    files.add(file)
  }
  for (const name of drives) claim('drive', name, driveFile(name))
  for (const name of configs) claim('config', name, name)
}

const HINT = 'give another one, as in NAME=FILE'

/**
 * Finds the drive that a user means, by its name. A name that cannot be typed is found as it is printed. `scsi0` is what Proxmox calls the
 * drive that is `drive-scsi0` in an archive.
 */
export function driveNamed(drives: readonly DriveInfo[], name: string): DriveInfo | undefined {
  const exact = drives.find((drive) => drive.name === name)
  if (exact !== undefined) return exact
  const printed = drives.filter((drive) => printable(drive.name) === name)
  if (printed.length === 1) return printed[0]
  return drives.find((drive) => drive.name === `drive-${name}` || drive.name === `drive-${name}-backup`)
}
