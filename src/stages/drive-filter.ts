/** Passes the clusters of some drives and drops all others. */

import { VmapipeError } from '../core/errors.ts'
import { type ClusterItem, Manifest } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { none } from '../core/steps.ts'
import { driveNamed } from '../formats/vma/names.ts'

const names = z.array(z.string().min(1))

const options = z
  .strictObject({
    keep: names.optional().describe('names of the drives to keep; by default all that are not left out'),
    leaveOut: names.optional().describe('names of the drives to leave out'),
  })
  .refine(({ keep, leaveOut }) => keep === undefined || leaveOut === undefined, {
    message: 'keep and leaveOut cannot be used together: give one of them',
  })

type Options = z.output<typeof options>

/**
 * Leaves drives out. Takes and gives clusters. Errors: USAGE for a drive that the archive does not have.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), driveFilter({ leaveOut: ['drive-scsi1'] }), vmaFramer(), sink({ to: 'less.vma' })]).run()
 */
export const driveFilter = defineStage({
  name: 'drive-filter',
  summary: 'keeps some drives and leaves out the others',
  input: 'clusters',
  output: 'clusters',
  options,
  create(options: Options) {
    let kept: Set<number> | null = null
    return (item: ClusterItem): ClusterItem | typeof none => {
      if (item.kind === 'manifest') {
        const manifest = filtered(item, options)
        kept = new Set(manifest.drives.map(({ id }) => id))
        return manifest
      }
      if (kept === null) throw new VmapipeError('STAGE', 'clusters came before the manifest')
      if (kept.has(item.drive)) return item
      item.release()
      return none
    }
  },
})

/** The manifest of the same archive with fewer drives. Throws USAGE for a name that it does not have. */
export function filtered({ uuid, ctime, configs, drives, record }: Manifest, { keep, leaveOut }: Options): Manifest {
  const named = new Set<string>()
  for (const name of [...(keep ?? []), ...(leaveOut ?? [])]) {
    const found = driveNamed(drives, name)
    if (found !== undefined) {
      named.add(found.name)
      continue
    }
    const known = drives.map((drive) => drive.name).join(', ')
    throw new VmapipeError('USAGE', `the archive has no drive '${name}'`, { hint: `it has ${known || 'none'}` })
  }
  const passes = (name: string) => named.has(name) === (keep !== undefined)
  return new Manifest({ uuid, ctime, configs, record, drives: drives.filter(({ name }) => passes(name)) })
}
