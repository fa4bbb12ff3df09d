/** Copies an archive, or a chain of them, from one place to another. What arrives is checked on its way, before it gets its name. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { Counters } from '../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { isDamage } from '../core/findings.ts'
import { checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { definePipeline } from '../core/pipeline.ts'
import { runOptionsOf } from '../core/run-options.ts'
import type { BoundStage } from '../core/stage.ts'
import { tee } from '../stages/tee.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import { fileName, hasName } from '../storage/archive/spec.ts'
import { chainOf, mayHaveParents } from './chain.ts'
import { continuedCopy } from './continued-copy.ts'
import { sealedArchive } from './encryption.ts'
import type { OperationOptions } from './operation.ts'
import { boundStages, type PlannedStage, plannedLimit } from './plan.ts'
import { readingShape } from './read-archive.ts'
import { type Encryption, encryptionShape, plannedEncryptor } from './write-archive.ts'

/** Which archive goes where. */
export interface CopyOptions extends OperationOptions {
  /** A path, `ssh://user@host/path`, `s3://bucket/key`, `exec:COMMAND` or `-`. */
  from: string
  /** The same, or a folder that ends with `/`: then the parents of the archive are copied too, if it has any. */
  to: string
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
  /** Folders and archives where parents are looked for; otherwise beside the archive. */
  parents?: readonly string[]
  /** Encrypts the copy. Without it an encrypted archive stays as it is, or is decrypted if the new name does not end in .age. */
  encrypt?: Encryption
  /** Replaces an archive that exists. */
  force?: boolean
}

const shape = {
  ...readingShape,
  from: text,
  to: text,
  parents: names,
  encrypt: encryptionShape,
  force: flag,
} satisfies Shape<CopyOptions>

/** One archive that was copied. */
export interface CopiedArchive {
  from: string
  to: string
  /** Bytes that were written. */
  bytes: number
  /** Whether the same archive was there already, so that nothing was copied. */
  wasThere: boolean
  /** Whether the content was checked. That of an encrypted archive is only if there is a key for it. */
  isChecked: boolean
}

/**
 * Copies an archive, and its parents if `to` is a folder. A copy appears when it is complete, durable and known to be whole. Errors: USAGE,
 * FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     await copy({ from: '/srv/backup/vm.vma.zst', to: 'ssh://far/srv/vm.vma.zst' })
 */
export async function copy(options: CopyOptions): Promise<CopiedArchive[]> {
  checkOptions('copy', { shape, required: ['from', 'to'] }, options)
  const { to, encrypt } = options
  if (!to.endsWith('/')) return [await copyOne(options)]
  const copied: CopiedArchive[] = []
  // The oldest first: what is there is always a chain, if the copy ends early.
  for (const place of (await membersOf(options)).reverse()) {
    const name = fileName(place) + (encrypt !== undefined && !place.endsWith('.age') ? '.age' : '')
    copied.push(await copyOne({ ...options, from: place, to: to + name }))
  }
  return copied
}

/** The places of the archive and its parents, the newest first. */
async function membersOf({ from, ...options }: CopyOptions): Promise<string[]> {
  if (!hasName(from)) throw new VmapipeError('USAGE', `'${from}' has no name that it could have in a folder`)
  if (!(await mayHaveParents(from)) || !(await canBeRead({ from, keys: options.keys }))) return [from]
  const chain = await chainOf(from, options)
  await chain.close()
  return chain.members.map(({ place }) => place)
}

/** Whether the archive is not encrypted, or there is a key to try. */
async function canBeRead({ from, keys }: Pick<CopyOptions, 'from' | 'keys'>): Promise<boolean> {
  return keys !== undefined || !!process.env.VMAPIPE_IDENTITY_FILE || (await sealedArchive(from)) === null
}

async function copyOne(options: CopyOptions): Promise<CopiedArchive> {
  const { from, to, force, bwlimit, keys, warn = () => {}, counters = new Counters() } = options
  const isChecked = await canBeRead(options)
  if (!force && (await isThere(options))) return { from, to, bytes: 0, wasThere: true, isChecked: false }
  if (!isChecked) warn(`'${from}' is encrypted and no key was given: what is in it is not checked`)
  // A copy that is whole needs no lines about its drives; one that is not rejects.
  const check: PlannedStage[] = [
    ['decryptor', { keys }],
    ['decompressor'],
    ['vma-deframer'],
    ['verifier', { report: () => {} }],
  ]
  const changed = transformed(options)
  const before = counters.get('written')
  // What cannot be checked is not trusted either if it is half there.
  const continued = changed.length === 0 && isChecked ? await continuedCopy(options) : null
  const last = continued?.sink ?? boundStages([['sink', { to, force: force || undefined }]])[0]
  const branches = [
    { name: 'copy', required: true, stages: [...boundStages(changed), last] },
    ...(isChecked ? [{ name: 'check', required: true, stages: boundStages(check) }] : []),
  ]
  const first: BoundStage[] = continued === null ? boundStages([['source', { from }]]) : [continued.source]
  const stages = [...first, ...boundStages(plannedLimit(bwlimit)), ...teeOf(branches)]
  try {
    await definePipeline(stages).run(runOptionsOf({ ...options, counters }))
  } catch (error) {
    if (continued !== null && isDamage(asVmapipeError(error))) await continued.discard()
    throw error
  } finally {
    await continued?.close()
  }
  return { from, to, bytes: counters.get('written') - before, wasThere: false, isChecked }
}

function teeOf(branches: readonly { name: string; required: boolean; stages: BoundStage[] }[]): BoundStage[] {
  const [only, ...more] = branches
  return more.length === 0 ? only.stages : [tee({ branches: [...branches] }) as BoundStage]
}

/** Changes the encryption, if the copy has another one. */
function transformed({ from, to, keys, encrypt }: CopyOptions): PlannedStage[] {
  if (encrypt !== undefined) return [['decryptor', { keys }], ...plannedEncryptor({ to, encrypt })]
  const isSealed = (place: string) => hasName(place) && place.endsWith('.age')
  if (isSealed(from) && hasName(to) && !isSealed(to)) return [['decryptor', { keys }]]
  if (hasName(from) && !isSealed(from)) plannedEncryptor({ to })
  return []
}

/** Bytes that are compared at both ends. */
const COMPARED = 65536

/** Whether the same bytes are there already, as after a copy of a chain that was interrupted behind this archive. */
async function isThere({ from, to, encrypt, signal }: CopyOptions): Promise<boolean> {
  const [source, target] = [openPlace(from), openPlace(to)]
  if (encrypt !== undefined || !target.stat || !target.ranges || !source.ranges) return false
  if ((await target.stat()) === null) return false
  const old = await target.ranges({ signal })
  const now = await source.ranges({ signal })
  try {
    if (old.size !== now.size) return false
    const length = Math.min(COMPARED, old.size)
    for (const offset of [0, old.size - length]) {
      const [one, other] = [Buffer.alloc(length), Buffer.alloc(length)]
      await Promise.all([old.read(one, offset), now.read(other, offset)])
      if (!one.equals(other)) return false
    }
    return true
  } finally {
    await Promise.all([old.close(), now.close()])
  }
}
