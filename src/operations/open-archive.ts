/** Opens any archive as drives that can be read in any order. It is unpacked only if there is no other way. */

import { stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { type Archive, archiveOf } from '../access/archive.ts'
import { openFile } from '../access/open-file.ts'
import { openChain } from '../chain/open-chain.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import { Budget } from '../core/budget.ts'
import { Counters } from '../core/counters.ts'
import { abortSignal, atLeastOne, callback, checkOptions, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { z } from '../core/stage.ts'
import type { ReadableLike } from '../core/stream-kinds.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { spoolArchive } from './spool.ts'

/** How an archive is opened. */
export interface OpenArchiveOptions {
  /** Memory for reading and for the cache, which takes all of it. By default a budget of its own of 64 MiB. */
  budget?: Budget
  /** Tasks that run at once; the number of processors by default. */
  threads?: number
  /** Aborts the opening. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn?: (message: string) => void
  /**
   * The folder for unpacked drives, if the archive can only be read from front to back: a pipe, or a compressed file without frames
   * that can be found. The default is the folder for temporary files. A warning says the size first.
   */
  spool?: string
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: readonly string[]
  /** Names of the wanted drives, which saves work if the archive is unpacked; all drives by default. */
  only?: readonly string[]
  /** Counts what is read of the archive. */
  counters?: Counters
  /** What opens the archive if it is encrypted. By default the file of keys that VMAPIPE_IDENTITY_FILE names. */
  keys?: Keyring
}

const shape = {
  budget: z.instanceof(Budget),
  threads: atLeastOne,
  signal: abortSignal,
  warn: callback,
  spool: text,
  parents: names,
  only: names,
  counters: z.instanceof(Counters),
  keys: z.instanceof(Keyring),
} satisfies Shape<OpenArchiveOptions>

/**
 * Opens a path or s3://bucket/key, or an archive that can only be read once: `-`, `ssh://user@host/path`, `exec:COMMAND`, a stream. Errors: USAGE,
 * FAILED, DAMAGED, INCOMPLETE, ABORTED. Damage behind the header of a file is a warning now, and an error when it is read.
 *
 *     const archive = await openArchive('vm.vma.zst')
 *     const drive = archive.drive('drive-scsi0')
 *     const sector = Buffer.alloc(512)
 *     await drive.read(sector, 0)
 *     await archive.close()
 */
export async function openArchive(from: string | ReadableLike, options: OpenArchiveOptions = {}): Promise<Archive> {
  checkOptions('openArchive', { shape }, options)
  const { budget = new Budget(DEFAULT_BUDGET), threads = availableParallelism(), warn = () => {} } = options
  const { keys = new Keyring() } = options
  const settled = { ...options, budget, threads, warn, keys }
  const { capacity } = budget
  options.signal?.throwIfAborted()
  const path = await pathOf(from)
  const file = path === null ? 'the archive can only be read once' : await openFile(path, settled)
  if (typeof file !== 'string') {
    if (!file.manifest.isIncremental) return archiveOf(file)
    await file.close()
    return (await openChain(path!, { ...settled, budget: new Budget(capacity) })).archive
  }
  const spool = { folder: options.spool ?? tmpdir(), why: file, again: path !== null }
  // The attempt without unpacking carved its parts off the budget and uses them no more, so a new budget is used.
  return spoolArchive(from, { ...settled, ...spool, budget: path === null ? budget : new Budget(budget.capacity) })
}

/** The path of a file, or the name of an object; null if the archive can only be read once. */
async function pathOf(from: string | ReadableLike): Promise<string | null> {
  if (typeof from !== 'string') return null
  const place = parsePlace(from)
  if (place.kind === 's3' || place.kind === 'ssh') return from
  if (place.kind !== 'file') return null
  const stats = await stat(place.path).catch(() => null)
  return stats?.isFIFO() || stats?.isCharacterDevice() ? null : place.path
}
