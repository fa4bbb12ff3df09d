/** Opens the parent of an incremental backup: an archive, its own parents, and the hashes of all their clusters. */

import { availableParallelism } from 'node:os'
import { endOf } from '../../access/end-checksum.ts'
import { hashesOf, type OpenHashes } from '../../chain/kept-hashes.ts'
import { type Chain, type ChainMember, openChain } from '../../chain/open-chain.ts'
import { fetched, type TemporaryFile } from '../../chain/temporary.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { Budget } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { clusterCount } from '../../core/geometry.ts'
import type { ParentRecord } from '../../core/items.ts'
import { lockForUse } from '../../storage/archive/reading-lock.ts'
import { parsePlace } from '../../storage/archive/spec.ts'
import { ChainParent, type OpenParent } from './chain-parent.ts'

interface Options {
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
  warn?: ((message: string) => void) | undefined
  threads?: number | undefined
}

/** Memory for the parent's hashes, and for its data if it has none. It is not that of the backup, which flows beside it. */
const MEMORY = 32 << 20

/**
 * Opens the archive at this place as a parent. Only headers, indexes and later hashes are read. Errors: USAGE, FAILED, DAMAGED,
 * INCOMPLETE, ABORTED.
 */
export async function openParent(place: string, options: Options): Promise<OpenParent> {
  const { keys = new Keyring(), signal, warn = () => {}, threads = availableParallelism() } = options
  const { kind } = parsePlace(place)
  const isPipe = kind === 'stdio' || kind === 'exec'
  const copy: TemporaryFile | null = isPipe
    ? await fetched(place, { keys, threads, signal, warn, buffer: MEMORY })
    : null
  try {
    const budget = new Budget(MEMORY)
    const common = { budget, threads, warn, keys, ...(signal && { signal }) }
    const chain = await openChain(copy?.path ?? place, common)
    const hashes: OpenHashes[] = []
    const unlock = copy === null ? await lockMembers(chain) : async () => {}
    const close = async () => {
      await unlock()
      for (const opened of hashes) await opened.close()
      await chain.close()
      await copy?.close()
    }
    try {
      refuseIfCut(chain.members.at(-1)!)
      const { uuid, ctime } = chain.manifest
      const record: ParentRecord = { uuid, ctime, end: await endOf(chain.members[0].file) }
      for (const member of chain.members) hashes.push(await hashesOrRefuse(member, { ...common, buffer: MEMORY }))
      return new ChainParent(chain, { record, hashes, warn, close })
    } catch (error) {
      for (const opened of hashes) await opened.close()
      await unlock()
      await chain.close()
      throw error
    }
  } catch (error) {
    await copy?.close()
    throw error
  }
}

/** Keeps the archives of the chain until the backup has its name: it is nothing without them. */
async function lockMembers(chain: Chain): Promise<() => Promise<void>> {
  const unlocks: (() => Promise<void>)[] = []
  const unlock = async () => void (await Promise.all(unlocks.map((one) => one())))
  try {
    for (const { place } of chain.members) {
      const parsed = parsePlace(place)
      if (parsed.kind === 'file') unlocks.push(await lockForUse(parsed.path))
    }
    return unlock
  } catch (error) {
    await unlock()
    await chain.close()
    throw error
  }
}

type HashOptions = Omit<Parameters<typeof hashesOf>[1], 'place'>

async function hashesOrRefuse({ file, place }: ChainMember, options: HashOptions): Promise<OpenHashes> {
  const hashes = await hashesOf(file, { ...options, place })
  if (hashes !== null) return hashes
  throw new VmapipeError('FAILED', 'the archive has no hashes of its clusters, and they cannot be made', {
    file: place,
  })
}

/** Throws INCOMPLETE if the full archive of a chain was cut: its clusters are not all there. */
function refuseIfCut({ manifest, file, place }: ChainMember): void {
  for (const { id, name, size } of manifest.drives) {
    for (const { state } of file.parts.index.states(id, 0, clusterCount(size))) {
      if (state !== 'absent') continue
      throw new VmapipeError('INCOMPLETE', 'the archive was cut, and does not have all clusters', {
        file: place,
        drive: name,
      })
    }
  }
}
