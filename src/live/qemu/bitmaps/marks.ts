/**
 * The bitmap that tells whether a drive was made smaller. QEMU cuts a bitmap where the drive ends, and adds clean clusters if the drive
 * grows again, though they read as zeroes now. So a second, disabled bitmap has the last cluster alone: if that is gone, the drive was
 * made smaller. A bitmap gets a cluster by a write to its node only, and the guest's drive is not ours to write to. So a null node of
 * the same size is written to, and its bitmap is merged.
 */

import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { type Command, errorsOf, executeAll, STEP_MS } from '../attachment/commands.ts'
import { namesOf } from '../attachment/names.ts'

interface Marked {
  node: string
  size: number
  /** Name of the bitmap. */
  name: string
  persistent: boolean
}

const MARK = 'vmapipe-mark'
const SECTOR = 512

/** Adds the bitmap to the node. `index`: of the drive, for the name of the null node. Throws if QEMU cannot do it. */
export async function addMark(qmp: QmpClient, index: number, { node, size, name, persistent }: Marked): Promise<void> {
  const { mark } = namesOf(index)
  const write = `qemu-io ${mark} "write ${Math.floor((size - 1) / SECTOR) * SECTOR} ${SECTOR}"`
  const commands: Command[] = [
    ['blockdev-add', { driver: 'null-co', 'node-name': mark, size: Math.ceil(size / SECTOR) * SECTOR }],
    ['block-dirty-bitmap-add', { node: mark, name: MARK }],
    ['human-monitor-command', { 'command-line': write }],
    ['block-dirty-bitmap-add', { node, name, persistent, disabled: true }],
    ['block-dirty-bitmap-merge', { node, target: name, bitmaps: [{ node: mark, name: MARK }] }],
  ]
  const results = await executeAll(qmp, commands)
  await qmp.execute('blockdev-del', { 'node-name': mark }, { timeout: STEP_MS }).catch(() => {})
  const [error] = errorsOf(results)
  if (error !== undefined) throw error
}
