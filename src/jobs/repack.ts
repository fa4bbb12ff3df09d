/** An archive into another one: in the order of its drives' clusters, otherwise compressed, with fewer drives, with checksums. */

import { bindStage } from '../config/registry.ts'
import { Budget } from '../core/budget.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { type ClusterItem, Manifest } from '../core/items.ts'
import { checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { uuidText } from '../formats/vma/header.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { driveFilter, filtered } from '../stages/drive-filter.ts'
import { type JobResult, limit, runJob } from './job.ts'
import { openArchive } from './open-archive.ts'
import { boundStages } from './plan.ts'
import { type ReadOptions, reading, readShape } from './read-archive.ts'
import { plannedWriting, type WritingOptions, writingShape } from './write-archive.ts'

export interface RepackOptions extends ReadOptions, WritingOptions {
  /** Clusters stay in the order in which they are: nothing has to be found, nor unpacked to be put in order. */
  keepOrder?: boolean
  /** A folder for what is unpacked to be put in order, of an archive that can only be read once. */
  spool?: string
  /** Names of the drives that are wanted, or of those that are not; all of them unless given. */
  keep?: string[]
  leaveOut?: string[]
}

const shape = {
  ...readShape,
  ...writingShape,
  keepOrder: flag,
  spool: text,
  keep: names,
  leaveOut: names,
} satisfies Shape<RepackOptions>

/** Resolves when the new archive is complete and durable. UUID and time stay unless given. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function repack(options: RepackOptions): Promise<JobResult> {
  checkOptions('repack', { shape, required: ['from', 'to'] }, options)
  const census = new Census()
  if (options.keepOrder) return runJob([...passing(options), ...writing(options, census)], census, options)
  // Half of the memory finds and unpacks, the other half packs.
  const buffer = Math.floor((options.buffer ?? DEFAULT_BUDGET) / 2)
  const { from, keep, leaveOut, threads, signal, warn, spool } = options
  const budget = new Budget(buffer)
  const archive = await openArchive(from, { budget, threads, signal, warn, spool, only: keep })
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
    const stages = [source, ...limit(options.bwlimit), bindStage('zero-elider'), ...writing(options, census)]
    return await runJob(stages, census, { ...options, buffer })
  } finally {
    await archive.close()
  }
}

/** Drives are found by their names. */
function refuseDoubles({ drives }: Manifest): void {
  const double = drives.find(({ name }, at) => drives.findIndex((other) => other.name === name) < at)
  if (double === undefined) return
  throw new VmapipeError('DAMAGED', `the archive has two drives of the name '${double.name}'`, {
    hint: '--keep-order keeps them both',
  })
}

/** From the archive to the clusters that are wanted, as they come. */
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

function writing(options: RepackOptions, census: Census): BoundStage[] {
  return [census.stage, ...boundStages(plannedWriting(options))]
}

/** That of the archive, unless another one is wanted. */
function identity(manifest: Manifest, { uuid, ctime }: RepackOptions): { uuid: string; ctime: number } {
  return { uuid: uuid ?? uuidText(manifest.uuid), ctime: ctime ?? manifest.ctime }
}
