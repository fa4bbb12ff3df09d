/** Removes one archive that a user names, and what is beside it. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { printable, VmapipeError } from '../core/errors.ts'
import { folderOfArchive } from '../storage/archive/archive-folder.ts'
import { parseArchiveName } from '../storage/archive/names.ts'
import { fileName } from '../storage/archive/spec.ts'
import { openCatalog } from './catalog.ts'
import type { CatalogEntry } from './entry.ts'
import { Families } from './families.ts'
import { inOrderOfRemoval } from './prune-plan.ts'
import { Remover } from './removal.ts'

export interface ForgetOptions {
  /** Removes the archives that need it too. */
  withChildren?: boolean | undefined
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
  warn?: ((message: string) => void) | undefined
  /** Called with each archive that was removed. */
  onRemoved?: ((entry: CatalogEntry) => void) | undefined
}

/**
 * Removes an archive. Resolves with what was removed, children first. Errors: USAGE for a name that is not that of an archive; FAILED if
 * there is none, it is protected or in use, or others need it.
 */
export async function forget(archive: string, options: ForgetOptions = {}): Promise<CatalogEntry[]> {
  const { withChildren = false, keys, signal, warn = () => {} } = options
  const folder = folderOfArchive(archive)
  const name = folder === null ? '' : fileName(archive)
  const parsed = parseArchiveName(name)
  if (folder === null || parsed === null || parsed.suffix !== null) {
    throw new VmapipeError('USAGE', `'${archive}' is not the name of an archive that can be removed`, {
      hint: 'archives end in .vma or .vmi, perhaps compressed (.zst) and encrypted (.age); rm removes any other file',
    })
  }
  const catalog = await openCatalog(folder, { keys, signal, warn, shallow: true })
  const entry = catalog.entries.find((one) => parseArchiveName(one.name)!.archive === parsed.archive)
  if (entry === undefined) throw new VmapipeError('FAILED', `there is no archive '${archive}'`, { file: archive })
  const families = new Families(catalog.entries)
  const all = [entry]
  for (const one of all) for (const child of families.childrenOf(one)) if (!all.includes(child)) all.push(child)
  refuse(all, withChildren)
  warnOfUnknown(entry, catalog.entries, warn)
  const remover = new Remover(catalog, { keys, signal })
  const removed: CatalogEntry[] = []
  const going = all.map((one) => ({ entry: one, stays: false, reasons: [] }))
  for (const one of inOrderOfRemoval(going, families)) {
    signal?.throwIfAborted()
    const reason = await remover.remove(one)
    if (reason !== null) throw new VmapipeError('FAILED', `'${printable(one.place)}' was not removed: ${reason}`)
    removed.push(one)
    options.onRemoved?.(one)
  }
  return removed
}

function refuse([entry, ...children]: readonly CatalogEntry[], withChildren: boolean): void {
  if (children.length > 0 && !withChildren) {
    const names = children.map(({ name }) => printable(name))
    const text = names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} others` : names.join(', ')
    throw new VmapipeError('FAILED', `'${printable(entry.place)}' is needed by ${text}`, {
      hint: '--with-children removes them too',
    })
  }
  const held = [entry, ...children].find((one) => one.protected)
  if (held === undefined) return
  throw new VmapipeError('FAILED', `'${printable(held.place)}' is protected`, {
    hint: `vmapipe protect --off ends that`,
  })
}

function warnOfUnknown(
  { place }: CatalogEntry,
  entries: readonly CatalogEntry[],
  warn: (message: string) => void,
): void {
  const unknown = entries.filter(
    (one) => one.unreadable !== undefined && one.kind === 'incremental' && one.place !== place,
  )
  if (unknown.length === 0) return
  warn(`'${unknown[0].name}' cannot be read, and may need it: ${unknown[0].unreadable}`)
}
