/** Takes out of a QEMU what a backup that was killed has left there. */

import { connect } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'
import { parseNbdUri } from '../../protocol/nbd/uri.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import type { Command } from './commands.ts'
import { isOurs } from './names.ts'
import { type Footprint, ours, remove } from './removal.ts'

interface BlockNode {
  'node-name': string
  drv: string
  file: string
}

/** What was removed, by name; nothing where there was nothing. FAILED where a backup is still running, or something stays. */
export async function detach(qmp: QmpClient): Promise<string[]> {
  const { jobs, exports, nodes: names } = await ours(qmp)
  const found = [...jobs, ...exports, ...names]
  if (found.length === 0) return []
  const nodes = (await qmp.execute<BlockNode[]>('query-named-block-nodes', { flat: true })).filter((node) =>
    isOurs(node['node-name']),
  )
  await refuseWhereAlive(nodes)
  const ofDriver = (driver: string) => nodes.filter(({ drv }) => drv === driver).map((node) => node['node-name'])
  const filters = ofDriver('copy-before-write')
  const foreign = (await qmp.execute<{ id: string }[]>('query-block-exports')).filter(({ id }) => !isOurs(id))
  const footprint: Footprint = {
    ...{ jobs, exports, filters },
    snapshots: ofDriver('snapshot-access'),
    swaps: await swapsOf(qmp, filters),
    targets: ofDriver('nbd'),
    server: foreign.length === 0,
  }
  await remove(qmp, footprint)
  return found
}

/** Somebody who answers at the other end is no leftover. */
async function refuseWhereAlive(nodes: readonly BlockNode[]): Promise<void> {
  for (const { drv, file } of nodes) {
    if (drv !== 'nbd' || !file.startsWith('nbd+unix:')) continue
    const address = parseNbdUri(file)
    if (!('socketPath' in address) || !(await answers(address.socketPath))) continue
    throw new VmapipeError('FAILED', 'another vmapipe is backing up this guest', {
      hint: 'wait for it, or end it with SIGTERM',
    })
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Devices that use one of our filters get what is below it. */
async function swapsOf(qmp: QmpClient, filters: readonly string[]): Promise<Command[]> {
  if (filters.length === 0) return []
  const below = await childrenOf(qmp, filters)
  const blocks = await qmp.execute<{ qdev?: string; inserted?: { 'node-name'?: string } }[]>('query-block')
  return blocks.flatMap(({ qdev, inserted }) => {
    const node = below.get(inserted?.['node-name'] ?? '')
    if (qdev === undefined || node === undefined) return []
    const path = qdev.includes('/') ? qdev : `/machine/peripheral/${qdev}`
    return [['qom-set', { path, property: 'drive', value: node }] as const]
  })
}

/** What each filter filters. Nothing but the block graph tells it. */
async function childrenOf(qmp: QmpClient, filters: readonly string[]): Promise<Map<string, string>> {
  const { nodes, edges } = await qmp.execute<{
    nodes: { id: number; name: string }[]
    edges: { parent: number; child: number; name: string }[]
  }>('x-debug-query-block-graph')
  const names = new Map(nodes.map(({ id, name }) => [id, name]))
  const files = edges.filter(({ name, parent }) => name === 'file' && filters.includes(names.get(parent) ?? ''))
  return new Map(files.map(({ parent, child }) => [names.get(parent)!, names.get(child)!]))
}
