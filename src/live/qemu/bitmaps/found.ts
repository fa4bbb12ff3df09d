/** The dirty bitmaps of a QEMU, as QEMU tells of them, checked: an image may bring any. */

import { isCount, isObject, objectsOf, textOf } from '../../../protocol/json.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { STEP_MS } from '../attachment/commands.ts'

export interface DirtyBitmap {
  node: string
  name: string
  /** Bytes, in whole pieces of the granularity. */
  count: number
  granularity: number
  /** Writes are recorded. */
  recording: boolean
  /** QEMU was killed while it had the image of the bitmap open: nobody knows what was written then. */
  inconsistent: boolean
  /** Something in QEMU uses it, such as a job, an export or a migration. */
  busy: boolean
}

/** All of them, of every node. */
export async function bitmapsIn(qmp: Pick<QmpClient, 'execute'>): Promise<DirtyBitmap[]> {
  return bitmapsOf(await qmp.execute('query-named-block-nodes', { flat: true }, { timeout: STEP_MS }))
}

/** Of an answer to query-named-block-nodes. */
export function bitmapsOf(nodes: unknown): DirtyBitmap[] {
  return objectsOf(nodes).flatMap((node) => {
    const name = textOf(node['node-name'])
    return name === undefined ? [] : objectsOf(node['dirty-bitmaps']).flatMap((bitmap) => parse(name, bitmap))
  })
}

function parse(node: string, bitmap: unknown): DirtyBitmap[] {
  if (!isObject(bitmap)) return []
  const { name, count, granularity } = bitmap
  if (typeof name !== 'string' || !isCount(count) || !isCount(granularity)) return []
  const flag = (key: string) => bitmap[key] === true
  return [
    {
      ...{ node, name, count, granularity },
      recording: flag('recording'),
      inconsistent: flag('inconsistent'),
      busy: flag('busy'),
    },
  ]
}
