/** How a guest's devices are made to use other block nodes, all of them at one instant. */

import type { QmpClient } from '../../protocol/qmp/client.ts'
import type { Command } from './commands.ts'
import { assertNotMigrating } from './migration.ts'

export interface GuestSwitch {
  /** Commands before the devices are switched, and after. */
  readonly pause: readonly Command[]
  readonly resume: readonly Command[]
  /** Lets a device use this node. */
  attach(device: string, node: string): Command
}

/** Of a real guest: its processors stop, each device's `drive` property is set, they go on. One that is paused stays so. */
export async function guestSwitch(qmp: QmpClient): Promise<GuestSwitch> {
  const { running } = await assertNotMigrating(qmp)
  return {
    pause: running ? [['stop']] : [],
    resume: running ? [['cont']] : [],
    attach: (path, value) => ['qom-set', { path, property: 'drive', value }],
  }
}
