/** Checks incremental archives: one alone, with a look whether its parents are there, or all archives of a chain. */

import type { ChainMember } from '../chain/open-chain.ts'
import { type DriveRoot, rootsOf } from '../chain/root.ts'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, printable, type VmapipeError } from '../core/errors.ts'
import { checkOptions, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { uuidText } from '../formats/vma/header.ts'
import { DamagedArchive } from './archive-report.ts'
import { chainOf, mayHaveParents } from './chain.ts'
import { type ReadingOptions, readingShape } from './read-archive.ts'
import { type VerifyResult, verify } from './verify.ts'

/** Which archive is checked, and where its parents are. */
export interface VerifyChainOptions extends ReadingOptions {
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for archives of a chain that must be unpacked first. */
  spool?: string
}

/** What is known of a chain whose archives are all whole. The report is that of the last archive. */
export interface ChainVerdict extends VerifyResult {
  /** The archives of the chain, the full one first. */
  archives: { place: string; uuid: string; ctime: number }[]
  /** The root of each drive: the same for all archives and chains that hold the same disk. */
  roots: DriveRoot[]
}

const shape = { ...readingShape, parents: names, spool: text } satisfies Shape<VerifyChainOptions>

/** Checks an archive alone. If it is incremental and no stream, its parents must be there too. The errors are those of `verify`. */
export async function verifyWithParents({ parents, spool, ...options }: VerifyChainOptions): Promise<VerifyResult> {
  const result = await verify(options)
  if (!result.manifest.isIncremental || typeof options.from !== 'string') return result
  if (!(await mayHaveParents(options.from))) {
    options.warn?.('the archive is incremental; whether its parents are there was not checked')
    return result
  }
  const chain = await chainOf(options.from, { ...options, parents, spool })
  await chain.close()
  return result
}

/**
 * Checks all archives of a chain: the data of each against its hashes, and that each is the parent that its child names. So the chain
 * gives what the guest had. A full archive is a chain of one. All archives are read even if one is damaged. Then this rejects with the
 * first DamagedArchive. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const { roots } = await verifyChain({ from: 'night7.vmi.zst' })
 *     for (const { drive, root } of roots) console.log(drive, root)
 */
export async function verifyChain(options: VerifyChainOptions): Promise<ChainVerdict> {
  checkOptions('verifyChain', { shape, required: ['from'] }, options)
  const { parents, spool, ...reading } = options
  const from = options.from
  if (typeof from !== 'string' || !(await mayHaveParents(from))) {
    const alone = await verifyWithParents(options)
    return { ...alone, archives: [], roots: [] }
  }
  const chain = await chainOf(from, options)
  try {
    const failures: VmapipeError[] = []
    let last: VerifyResult | null = null
    for (const member of chain.members.toReversed()) {
      try {
        last = await verify({ ...reading, from: member.place })
      } catch (error) {
        failures.push(inArchive(error, member, chain.members.length))
      }
    }
    const [first, ...others] = failures
    if (first !== undefined) {
      first.suppressed.push(...others)
      throw first
    }
    const budget = new Budget(Math.floor((options.buffer ?? DEFAULT_BUDGET) / 2))
    const roots = await rootsOf(chain, { budget, signal: options.signal })
    const archives = chain.members.map(described).reverse()
    return { ...last!, archives, roots }
  } finally {
    await chain.close()
  }
}

function described({ place, manifest: { uuid, ctime } }: ChainMember) {
  return { place, uuid: uuidText(uuid), ctime }
}

/** Names the archive of the chain that an error is of. */
function inArchive(error: unknown, { place }: ChainMember, archives: number): VmapipeError {
  const failure = asVmapipeError(error)
  if (failure.code !== 'DAMAGED' && failure.code !== 'INCOMPLETE') throw failure
  if (archives > 1) failure.where.file ??= place
  if (!(failure instanceof DamagedArchive) || archives === 1) return failure
  for (const { error } of failure.report.damage) error.where.file ??= place
  return new DamagedArchive(failure.report, [`archive ${printable(place)} of the chain is damaged`, ...failure.notes])
}
