/** Rewrites an archive: with the clusters of its drives in order, with another compression, with fewer drives, or with checksums. */

import { randomUUID } from 'node:crypto'
import { chainSource } from '../chain/chain-source.ts'
import { bindStage } from '../config/registry.ts'
import { Budget } from '../core/budget.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { type ClusterItem, Manifest } from '../core/items.ts'
import { checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { uuidText } from '../formats/vma/header.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { driveFilter, filtered } from '../stages/drive-filter.ts'
import { fileName } from '../storage/archive/spec.ts'
import { chainOf, mayHaveParents } from './chain.ts'
import { readManifest } from './manifest.ts'
import { openArchive } from './open-archive.ts'
import { limit, type OperationResult, runOperation } from './operation.ts'
import { boundStages } from './plan.ts'
import { type ReadingOptions, reading, readingShape } from './read-archive.ts'
import { plannedWriting, type WritingOptions, writingShape } from './write-archive.ts'

/** What the new archive has, and where it goes. */
export interface RepackOptions extends ReadingOptions, WritingOptions {
  /** Leaves the clusters in the order of the archive. It then needs no index, and is never unpacked first. */
  keepOrder?: boolean
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for unpacked drives, if the archive can only be read once. */
  spool?: string
  /** Names of the drives to keep, or to leave out. By default all drives are kept. */
  keep?: string[]
  /** Names of the drives to leave out; none by default. */
  leaveOut?: string[]
  /** The new archive is for this guest of Proxmox: `qmrestore` takes it. If `to` ends in `/`, it gets a name of Proxmox's. */
  forProxmox?: number
  /** With `forProxmox`: the template of the notes beside the archive; `{{guestname}}` by default. */
  notes?: string
}

const shape = {
  ...readingShape,
  ...writingShape,
  keepOrder: flag,
  parents: names,
  spool: text,
  keep: names,
  leaveOut: names,
  forProxmox: z.int(),
  notes: z.string(),
} satisfies Shape<RepackOptions>

/**
 * Makes an archive of an archive: other compression, an index, fewer drives, other names.
 * Resolves when the new archive is complete and durable. It keeps uuid and time by default. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     await repack({ from: 'vzdump-qemu-100.vma.gz', to: 'vm.vma.zst' })
 */
export async function repack(options: RepackOptions): Promise<OperationResult> {
  checkOptions('repack', { shape, required: ['from', 'to'] }, options)
  if (options.forProxmox === undefined) return rewrite(options, [])
  const { rewriteForProxmox } = await import('./proxmox/repack-for-proxmox.ts')
  return rewriteForProxmox(options, options.forProxmox, rewrite)
}

/** `changes`: stages between the archive that is read and the one that is written. */
async function rewrite(options: RepackOptions, changes: readonly BoundStage[]): Promise<OperationResult> {
  const census = new Census()
  if (options.keepOrder)
    return runOperation([...passing(options), ...writing(options, census, changes)], census, options)
  if (await isLastOfChain(options)) return repackChain(options, census, changes)
  // Half of the memory is for reading, the other half for writing.
  const buffer = Math.floor((options.buffer ?? DEFAULT_BUDGET) / 2)
  const { from, keep, leaveOut, threads, signal, warn, spool, keys } = options
  const budget = new Budget(buffer)
  const archive = await openArchive(from, { budget, threads, signal, warn, spool, keys, only: keep })
  try {
    const manifest = filtered(archive.manifest, { keep, leaveOut })
    refuseDoubles(manifest)
    const source = clusterSource({
      drives: Object.fromEntries(manifest.drives.map(({ name }) => [name, archive.drive(name)])),
      configs: manifest.configs,
      anyNames: true,
      inTurn: false,
      ...identity(manifest, options),
    })
    const stages = [source, ...limit(options.bwlimit), bindStage('zero-elider'), ...writing(options, census, changes)]
    return await runOperation(stages, census, { ...options, buffer })
  } finally {
    await archive.close()
  }
}

async function isLastOfChain({ from, keys, signal }: RepackOptions): Promise<boolean> {
  if (!(await mayHaveParents(from))) return false
  return (await readManifest({ from, keys, ...(signal && { signal }) })).isIncremental
}

/** Makes a full archive of a chain, with a new uuid by default: children of the last archive are not children of the new one. */
async function repackChain(
  options: RepackOptions,
  census: Census,
  changes: readonly BoundStage[],
): Promise<OperationResult> {
  const { keep, leaveOut, uuid = randomUUID() } = options
  const from = options.from as string
  const chain = await chainOf(from, options)
  try {
    const manifest = filtered(chain.manifest, { keep, leaveOut })
    refuseDoubles(manifest)
    const record = { parent: null, guest: manifest.record?.guest ?? null, full: madeOf(from, chain.members.length) }
    const { ctime } = identity(manifest, options)
    const made = new Manifest({ ...manifest, uuid: Buffer.from(uuid.replaceAll('-', ''), 'hex'), ctime, record })
    const source = chainSource({ from, chain, manifest: made, order: 'drive' })
    const buffer = Math.floor((options.buffer ?? DEFAULT_BUDGET) / 2)
    return await runOperation([source, ...limit(options.bwlimit), ...writing(options, census, changes)], census, {
      ...options,
      buffer,
    })
  } finally {
    await chain.close()
  }
}

/** What the record of the new archive says. */
function madeOf(from: string, archives: number): string {
  return `made of ${fileName(from).slice(0, 200)} and the ${archives - 1} archives before it`
}

/** Throws DAMAGED if two drives have the same name: drives are opened by name. */
function refuseDoubles({ drives }: Manifest): void {
  const double = drives.find(({ name }, at) => drives.findIndex((other) => other.name === name) < at)
  if (double === undefined) return
  throw new VmapipeError('DAMAGED', `the archive has two drives of the name '${double.name}'`, {
    hint: '--keep-order keeps them both',
  })
}

/** The stages from the archive to the wanted clusters, in the order of the archive. */
function passing(options: RepackOptions): BoundStage[] {
  const { keep, leaveOut } = options
  const renamed = defineStage({
    name: 'identity',
    summary: 'gives the archive another UUID or time',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      if (item.kind !== 'manifest') return item
      const { uuid, ctime } = identity(item, options)
      return new Manifest({ ...item, uuid: Buffer.from(uuid.replaceAll('-', ''), 'hex'), ctime })
    },
  })
  return [...reading(options), driveFilter({ keep, leaveOut }), renamed()]
}

function writing(options: RepackOptions, census: Census, changes: readonly BoundStage[]): BoundStage[] {
  return [...changes, census.stage, ...boundStages(plannedWriting(options))]
}

/** The uuid and the time of the archive, unless the options have others. */
function identity(manifest: Manifest, { uuid, ctime }: RepackOptions): { uuid: string; ctime: number } {
  return { uuid: uuid ?? uuidText(manifest.uuid), ctime: ctime ?? manifest.ctime }
}
