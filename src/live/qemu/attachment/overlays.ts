/**
 * Overlays that the owner of a guest made during a backup (`blockdev-snapshot-sync` and the like, by the name of the drive). They
 * are on top of our filter, or of that of a backup job, and QEMU writes the filter's driver into the overlay's header as the format
 * of its backing file. The guest works until it is started again; then no program can open the overlay. A filter below an overlay
 * stays in QEMU. The header can only be mended while no QEMU has the overlay open: QMP's `change-backing-file` writes the overlay's
 * own format there (seen on 7.2 and 10.0).
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { isOurs } from './names.ts'

export interface BlockNode {
  'node-name'?: string
  drv: string
  file: string
  image?: { 'backing-filename-format'?: string }
}

export interface Graph {
  nodes: { id: number; name: string }[]
  edges: { parent: number; child: number; name: string }[]
}

export interface Overlay {
  file: string
  /** Our filter below it; null if there is none, or none any more. */
  filter: string | null
  /** What is below the filter. */
  base: { file: string; format: string }
  /** Its header names the filter. */
  isBroken: boolean
}

/** The driver's name as QEMU shows the format of a backing file: its first 15 characters. */
const FILTER_FORMAT = /^copy-before-wri/

const FILTER_DRIVER = 'copy-before-write'

/** Milliseconds between two looks of the watch. */
const LOOK_MS = { events: 500, asked: 5000, shared: 5000 }

export function namesFilter({ image }: BlockNode): boolean {
  return FILTER_FORMAT.test(image?.['backing-filename-format'] ?? '')
}

export function overlaysIn(blocks: readonly BlockNode[], { nodes, edges }: Graph): Overlay[] {
  const names = new Map(nodes.map(({ id, name }) => [id, name]))
  const byName = new Map(blocks.map((block) => [block['node-name'], block]))
  const child = (of: string, edge: string) => {
    const found = edges.find(({ parent, name }) => name === edge && names.get(parent) === of)
    return byName.get(found && names.get(found.child))
  }
  return blocks.flatMap((block) => {
    const backing = child(block['node-name']!, 'backing')
    const isBroken = namesFilter(block)
    const filter = isOurs(backing?.['node-name']) && backing.drv === FILTER_DRIVER ? backing['node-name'] : null
    if (backing === undefined || (filter === null && !isBroken)) return []
    let base: BlockNode | undefined = backing
    while (base?.drv === FILTER_DRIVER) base = child(base['node-name']!, 'file')
    if (base === undefined) return []
    return [{ file: block.file, filter, isBroken, base: { file: base.file, format: base.drv } }]
  })
}

/** Tells the owner of the guest what to do. It is an error even if the archive is whole: `-q` must not hide it. */
export class OverlayError extends VmapipeError {
  constructor(overlays: readonly Overlay[]) {
    const broken = overlays.filter(({ isBroken }) => isBroken)
    const stuck = overlays.flatMap(({ filter }) => filter ?? [])
    const what = overlays.map(({ file }) => file).join(', ')
    const parts = [
      `a snapshot was made of a drive during a backup, and its overlay ${what} stands on a filter of the backup`,
      ...(stuck.length === 0 ? [] : [`${stuck.join(', ')} has to stay in QEMU until the guest is switched off`]),
      ...(broken.length === 0
        ? []
        : [`with '${FILTER_DRIVER}' as the format of its backing file nobody can open it again`]),
    ]
    const hint =
      broken.length === 0
        ? 'the guest goes on, and nothing is wrong on disk; the next backup is possible when the guest was switched off and on'
        : `the guest goes on; when it is switched off, and before it is started again: ${broken.map(rebase).join(' && ')}`
    super('FAILED', parts.join('; '), { hint })
  }
}

function rebase({ file, base }: Overlay): string {
  return ['qemu-img rebase -u -F', word(base.format), '-b', word(base.file), word(file)].join(' ')
}

/** Quoted for a shell. */
function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** Both errors in one, for the one line that the user surely sees. */
export function withOverlay(error: VmapipeError | null, { message, hint }: OverlayError): VmapipeError {
  if (error === null) return new VmapipeError('FAILED', `the archive is whole, but ${message}`, { hint })
  const { code, where, cause } = error
  const first = error.hint === undefined ? '' : ` (${error.hint})`
  return new VmapipeError(code, `${message}; the backup failed: ${error.message}${first}`, { ...where, cause, hint })
}

/**
 * Calls `found` once, soon after an overlay that names a filter was made. QEMU sends no event for it, and can only be asked while it
 * runs. Returns a function that ends the watch.
 */
export function watchForOverlays(qmp: QmpClient, found: () => void): () => void {
  const end = new AbortController()
  const { signal } = end
  const look = async () => {
    const nodes: BlockNode[] = await qmp.execute('query-named-block-nodes', { flat: true })
    if (signal.aborted || !nodes.some(namesFilter)) return
    end.abort()
    found()
  }
  const keepLooking = async () => {
    while (!signal.aborted) {
      await sleep(LOOK_MS[qmp.watching], undefined, { signal, ref: false }).catch(() => {})
      // If QEMU does not answer any more, its connection tells.
      if (!signal.aborted) await look().catch(() => {})
    }
  }
  void keepLooking()
  return () => end.abort()
}
