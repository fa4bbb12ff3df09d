/**
 * A restore as the form says it, as words of our command line. Targets are new: what exists is never written. Their folders are followed to
 * where they really are, and that has to be in a folder that was allowed when the page was started.
 */

import { lstat, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, normalize } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { ArchiveContent, RestoreForm } from '../house.ts'
import type { KnownArchive } from './archive-store.ts'

const LONGEST_PATH = 3000
const LONGEST_NAME = 100

/** `allowed`: folders that targets may be in; null if nothing is written, and the command is only shown. Errors: USAGE. */
export async function restoreWords(
  form: RestoreForm,
  { entry, identity }: KnownArchive,
  { content, allowed }: { content: ArchiveContent; allowed: readonly string[] | null },
): Promise<string[]> {
  const kinds = [Object.keys(form.drives).length > 0, form.domain !== undefined, form.qemu !== undefined]
  if (kinds.filter(Boolean).length !== 1)
    throw new VmapipeError('USAGE', 'a restore is of drives, or of a guest of libvirt, or a folder with run.sh', {
      hint: 'choose one of them',
    })
  refuseHidden(entry.place, 'the name of the archive')
  const words = ['restore']
  // Whole paths, other than in the lines of tasks, which all may see: who is shown this command may use the keys, and it has to work as it is.
  for (const file of identity) words.push(`--identity=${file}`)
  if (form.domain !== undefined) {
    const { name, folder } = form.domain
    checkDomain(name)
    const into = await newPath(folder, allowed)
    return [...words, `--libvirt=${name}`, '--new-uuid', '--new-mac', '--', entry.place, into]
  }
  if (form.qemu !== undefined) return [...words, '--qemu', '--', entry.place, await newPath(form.qemu.folder, allowed)]
  const targets = new Set<string>()
  for (const [drive, path] of Object.entries(form.drives)) {
    if (!content.drives.some(({ name }) => name === drive) || drive.includes('='))
      throw new VmapipeError('USAGE', 'the archive has no drive of this name')
    refuseHidden(drive, 'the name of the drive')
    const target = await newPath(path, allowed)
    if (targets.has(target)) throw new VmapipeError('USAGE', `two drives would be written to '${target}'`)
    targets.add(target)
    words.push(`--drive=${drive}=${target.endsWith('.qcow2') ? 'qcow2:' : ''}${target}`)
  }
  return [...words, '--', entry.place]
}

/** Characters that a terminal obeys or does not show: a command with them is not what it looks like. */
function refuseHidden(text: string, what: string): void {
  if (/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u.test(text))
    throw new VmapipeError('USAGE', `${what} has characters that are not shown`, {
      hint: 'use the command line of the host',
    })
}

function checkDomain(name: string): void {
  const isGood = name.length > 0 && name.length <= LONGEST_NAME && /^[\p{L}\p{N}_][\p{L}\p{N} _.+-]*$/u.test(name)
  if (!isGood)
    throw new VmapipeError('USAGE', 'this cannot be the name of a guest', {
      hint: 'use letters, digits, dots, dashes and underscores',
    })
}

/** The path with its folder as it really is. */
async function newPath(path: string, allowed: readonly string[] | null): Promise<string> {
  const isPlain = isAbsolute(path) && normalize(path) === path && !path.endsWith('/') && path.length <= LONGEST_PATH
  if (!isPlain)
    throw new VmapipeError('USAGE', 'a target is a whole path such as /srv/restored/disk.raw, without . and ..')
  refuseHidden(path, 'the target')
  if (await lstat(path).catch(() => null))
    throw new VmapipeError('USAGE', `'${path}' is there already`, { hint: 'name a new one' })
  const folder = await realpath(dirname(path)).catch(() => null)
  if (folder === null) {
    if (allowed === null) return path
    throw new VmapipeError('USAGE', `there is no folder '${dirname(path)}'`, { hint: 'make it first' })
  }
  const real = join(folder, basename(path))
  if (real !== path && (await lstat(real).catch(() => null)))
    throw new VmapipeError('USAGE', `'${real}' is there already`)
  if (allowed !== null && !(await isWithin(folder, allowed)))
    throw new VmapipeError('USAGE', `nothing may be restored to '${folder}'`, {
      hint: `only to ${allowed.join(', ')}: vmapipe web --restore-to FOLDER`,
    })
  return real
}

async function isWithin(folder: string, allowed: readonly string[]): Promise<boolean> {
  for (const one of allowed) {
    const real = await realpath(one).catch(() => null)
    if (real !== null && (folder === real || folder.startsWith(real.endsWith('/') ? real : `${real}/`))) return true
  }
  return false
}
