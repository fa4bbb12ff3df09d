/** How a guest's devices are made to use other block nodes, all of them at one instant. */

import { VmapipeError } from '../../core/errors.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import type { Command } from './commands.ts'

export interface GuestSwitch {
  /** Commands before the devices are switched, and after. */
  readonly pause: readonly Command[]
  readonly resume: readonly Command[]
  /** Lets a device use this node. */
  attach(device: string, node: string): Command
}

/** States in which the guest belongs to a migration. */
const MIGRATING = ['inmigrate', 'postmigrate', 'finish-migrate', 'colo', 'save-vm', 'restore-vm']

/** Of a real guest: its processors stop, each device's `drive` property is set, they go on. One that is paused stays so. */
export async function guestSwitch(qmp: QmpClient): Promise<GuestSwitch> {
  const { running, status } = await qmp.execute<{ running: boolean; status: string }>('query-status')
  const migration = await qmp.execute<{ status?: string }>('query-migrate')
  const migrates = ['setup', 'active', 'pre-switchover', 'device', 'postcopy-active', 'postcopy-paused', 'wait-unplug']
  if (MIGRATING.includes(status) || migrates.includes(migration.status ?? '')) {
    throw new VmapipeError('FAILED', `the guest is being migrated (${migration.status ?? status})`, {
      hint: 'back it up when it has arrived',
    })
  }
  return {
    pause: running ? [['stop']] : [],
    resume: running ? [['cont']] : [],
    attach: (path, value) => ['qom-set', { path, property: 'drive', value }],
  }
}
