/** Opens the chain of an archive for operations that read all of it. */

import { stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { type Chain, openChain } from '../chain/open-chain.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import { Budget } from '../core/budget.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { parsePlace } from '../storage/archive/spec.ts'

export interface ChainJobOptions {
  /** Memory of the operation, of which half is for reading the archives. */
  buffer?: number
  threads?: number
  signal?: AbortSignal
  warn?: (message: string) => void
  keys?: Keyring
  parents?: readonly string[]
  spool?: string
}

/** Whether an archive at this place may have its parents beside it. */
export async function mayHaveParents(from: unknown): Promise<boolean> {
  if (typeof from !== 'string') return false
  const place = parsePlace(from)
  if (place.kind === 'ssh' || place.kind === 's3') return true
  return place.kind === 'file' && ((await stat(place.path).catch(() => null))?.isFile() ?? false)
}

/** The chain whose last archive is at this path. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function chainOf(from: string, options: ChainJobOptions): Promise<Chain> {
  const { buffer = DEFAULT_BUDGET, threads = availableParallelism(), warn = () => {}, keys = new Keyring() } = options
  const { signal, parents, spool } = options
  const budget = new Budget(Math.floor(buffer / 2))
  return openChain(from, { budget, threads, warn, keys, parents, spool, ...(signal && { signal }) })
}
