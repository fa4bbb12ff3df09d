/** Finds what is ours in a QEMU, by asking QEMU. */

import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'
import { bitmapsOf, type DirtyBitmap } from '../bitmaps/found.ts'
import { FROZEN, keyOf } from '../bitmaps/names.ts'
import { STEP_MS } from './commands.ts'
import { isOurs } from './names.ts'
import { type Note, notesIn } from './notes.ts'
import { type BlockNode, type Graph, namesFilter, type Overlay, overlaysIn } from './overlays.ts'

export interface Footprint {
  jobs: string[]
  exports: string[]
  snapshots: string[]
  filters: string[]
  targets: string[]
  /** Null nodes, for the making of bitmaps. */
  marks: string[]
  /** Bitmaps that a running backup reads; and those that the next one may begin at. */
  frozen: DirtyBitmap[]
  bitmaps: DirtyBitmap[]
  notes: Note[]
  /** The URI that each target pushes to. */
  places: string[]
  /** Devices that use one of our filters, by their QOM path, and the node that is theirs. */
  swaps: { path: string; node: string }[]
  /** What the owner of the guest put on our filters, or on those of backup jobs. */
  overlays: Overlay[]
  /** Whether QEMU's NBD server has exports that are not ours. */
  hasForeignExports: boolean
}

type Ask = <T>(command: string, args?: object) => Promise<T>

export async function footprintOf(qmp: QmpClient): Promise<Footprint> {
  const ask: Ask = (command, args) => qmp.execute(command, args, { timeout: STEP_MS })
  const [jobs, exports, all, notes] = await Promise.all([
    ask<{ id: string }[]>('query-jobs'),
    ask<{ id: string }[]>('query-block-exports'),
    ask<BlockNode[]>('query-named-block-nodes', { flat: true }),
    notesIn(qmp),
  ])
  const dirty = bitmapsOf(all)
  const nodes = all.filter((node) => isOurs(node['node-name']))
  const ofDriver = (driver: string) => nodes.filter(({ drv }) => drv === driver).map((node) => node['node-name']!)
  const filters = ofDriver('copy-before-write')
  const asksGraph = filters.length > 0 || all.some(namesFilter)
  // Nothing but the block graph tells what a filter filters, and what stands on it.
  const graph = asksGraph ? await ask<Graph>('x-debug-query-block-graph') : { nodes: [], edges: [] }
  return {
    jobs: jobs.map(({ id }) => id).filter(isOurs),
    exports: exports.map(({ id }) => id).filter(isOurs),
    ...{ filters, snapshots: ofDriver('snapshot-access'), targets: ofDriver('nbd'), marks: ofDriver('null-co') },
    frozen: dirty.filter(({ name }) => name === FROZEN),
    bitmaps: dirty.filter(({ name }) => keyOf(name) !== null),
    notes,
    places: nodes.filter(({ drv }) => drv === 'nbd').map(({ file }) => file),
    swaps: filters.length === 0 ? [] : await swapsOf(ask, filters, graph),
    overlays: overlaysIn(all, graph),
    hasForeignExports: exports.some(({ id }) => !isOurs(id)),
  }
}

/** The names of everything that is ours. */
export function namesIn(footprint: Footprint): string[] {
  return [...blockNamesIn(footprint), ...footprint.notes.map(({ id }) => id)]
}

/** The names of jobs, exports, nodes and what they read, without notes. Bitmaps for the next backup are not among them. */
export function blockNamesIn({ jobs, exports, snapshots, filters, targets, marks, frozen }: Footprint): string[] {
  const bitmaps = frozen.map(({ name }) => name)
  return [...new Set([...jobs, ...exports, ...snapshots, ...filters, ...targets, ...marks, ...bitmaps])]
}

async function swapsOf(ask: Ask, filters: readonly string[], graph: Graph): Promise<Footprint['swaps']> {
  const below = childrenOf(filters, graph)
  const blocks = await guestBlocks(ask)
  return blocks.flatMap(({ qdev, inserted }) => {
    const node = below.get(inserted?.['node-name'] ?? '')
    if (qdev === undefined || node === undefined) return []
    return [{ path: qdev.includes('/') ? qdev : `/machine/peripheral/${qdev}`, node }]
  })
}

interface Block {
  qdev?: string
  inserted?: { 'node-name'?: string }
}

/** qemu-storage-daemon has no guest, and does not know the question. */
async function guestBlocks(ask: Ask): Promise<Block[]> {
  try {
    return await ask('query-block')
  } catch (error) {
    if (qmpErrorClass(error) === 'CommandNotFound') return []
    throw error
  }
}

/** What each filter filters. */
function childrenOf(filters: readonly string[], { nodes, edges }: Graph): Map<string, string> {
  const names = new Map(nodes.map(({ id, name }) => [id, name]))
  const files = edges.filter(({ name, parent }) => name === 'file' && filters.includes(names.get(parent) ?? ''))
  return new Map(files.map(({ parent, child }) => [names.get(parent)!, names.get(child)!]))
}
