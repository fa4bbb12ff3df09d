/** Rewrites an archive of any guest into one for Proxmox, with its name and with what is beside it. */

import { VmapipeError } from '../../core/errors.ts'
import type { BoundStage } from '../../core/stage.ts'
import { filtered } from '../../stages/drive-filter.ts'
import { readManifest } from '../manifest.ts'
import type { OperationResult } from '../operation.ts'
import type { ReadingOptions } from '../read-archive.ts'
import type { WritingOptions } from '../write-archive.ts'
import { noteLog, writeBeside } from './beside.ts'
import { planForProxmox, renamedFor } from './for-proxmox.ts'
import { notesFor } from './notes.ts'
import { namedTargets } from './targets.ts'

/** Proxmox has no place for the memory of a guest. */
const MEMORY = 'vmstate'

/** What this has to know of the options of `repack`. */
interface RepackOptions extends ReadingOptions, WritingOptions {
  keepOrder?: boolean
  keep?: string[]
  leaveOut?: string[]
  forProxmox?: number
  notes?: string
}

type Rewrite = (options: RepackOptions, changes: readonly BoundStage[]) => Promise<OperationResult>

export async function rewriteForProxmox(
  given: RepackOptions,
  vmid: number,
  rewrite: Rewrite,
): Promise<OperationResult> {
  if (given.since !== undefined)
    throw new VmapipeError('USAGE', 'an archive for Proxmox is a full one', { hint: 'leave --since out' })
  const { from, keys, signal } = given
  if (typeof from !== 'string' || from === '-' || from.startsWith('exec:')) {
    throw new VmapipeError('USAGE', 'an archive for Proxmox is made of one that can be read twice', {
      hint: 'write this one into a file first',
    })
  }
  const log = noteLog(given)
  const manifest = await readManifest({ from, ...(keys && { keys }), ...(signal && { signal }) })
  if (given.keepOrder && manifest.isIncremental) {
    throw new VmapipeError('USAGE', 'with --keep-order an incremental archive stays one, which Proxmox cannot read', {
      hint: 'leave --keep-order out',
    })
  }
  const { keep, leaveOut } = selection(
    given,
    manifest.drives.map(({ name }) => name),
    log.options.warn,
  )
  const plan = planForProxmox(filtered(manifest, { keep, leaveOut }), vmid)
  const { to, also } = namedTargets({ ...given, ctime: given.ctime ?? manifest.ctime }, vmid)
  const notes = await notesFor({ vmid, name: plan.guest }, given.notes)
  for (const note of plan.notes) log.options.warn?.(note)
  for (const [old, name] of plan.names) if (old !== name) log.say(`${old} is called ${name}`)
  if (to !== given.to) log.options.inform?.(`the archive is named '${to}'`, { to })
  const { forProxmox: _, notes: __, leaveOut: ___, ...rest } = given
  const options = { ...rest, ...log.options, to, ...(also && { also }), ...(leaveOut && { leaveOut }) }
  const result = await rewrite(options, [renamedFor(plan)])
  log.say('the archive is complete')
  const places = [to, ...(also ?? []).map((place) => place.to)].filter((place) => typeof place === 'string')
  await writeBeside(places, { notes, log: log.text(), warn: given.warn })
  return result
}

/** Which drives are kept, without the memory. */
function selection({ keep, leaveOut = [] }: RepackOptions, drives: readonly string[], warn?: (line: string) => void) {
  if (!drives.includes(MEMORY) || leaveOut.includes(MEMORY)) return { keep, leaveOut: keep ? undefined : leaveOut }
  if (keep?.includes(MEMORY))
    throw new VmapipeError('USAGE', 'Proxmox has no place for the memory of a guest', { hint: 'leave vmstate out' })
  if (keep !== undefined) return { keep, leaveOut: undefined }
  warn?.('the memory of the guest is left out, as Proxmox has no place for it')
  return { keep, leaveOut: [...leaveOut, MEMORY] }
}
