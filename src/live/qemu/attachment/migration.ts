/**
 * Ends a backup when the guest is migrated. Both at once do not work: QEMU (7.2, 10.0) accepts the migration, moves all of the
 * guest's memory, and only then finds that drives with exports or jobs cannot be handed over. So the backup gives way, whichever of
 * the two was first.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'

/** States of the machine, and of its migration. */
const STATES = ['inmigrate', 'postmigrate', 'finish-migrate', 'colo', 'save-vm', 'restore-vm']
const UNDER_WAY = ['setup', 'active', 'pre-switchover', 'device', 'postcopy-active', 'postcopy-paused', 'wait-unplug']

/** Milliseconds between two questions: QEMU sends events of a migration only if they were asked for. */
const LOOK_MS = { events: 250, asked: 1000, shared: 3000 }

/** What QEMU says of its machine. */
export interface MachineState {
  running: boolean
  status: string
}

/** What the machine does. FAILED while it belongs to a migration: a guest that has gone must not be started again here. */
export async function assertNotMigrating(qmp: QmpClient): Promise<MachineState> {
  const state = await qmp.execute<MachineState>('query-status')
  if (STATES.includes(state.status)) throw migrating(state.status)
  const migration = await migrationStatus(qmp)
  if (UNDER_WAY.includes(migration)) throw migrating(migration)
  return state
}

/** Calls `failed` once when a migration begins. Returns a function that ends the watch. */
export function watchForMigration(qmp: QmpClient, failed: (error: VmapipeError) => void): () => void {
  const end = new AbortController()
  const look = (status: unknown) => {
    if (end.signal.aborted || !UNDER_WAY.includes(String(status))) return
    end.abort()
    failed(migrating(String(status)))
  }
  const forget = qmp.on(({ event, data }) => event === 'MIGRATION' && look((data as { status?: unknown })?.status))
  end.signal.addEventListener('abort', forget)
  void keepLooking(qmp, look, end.signal)
  return () => end.abort()
}

/** If QEMU does not answer any more, its connection tells that. */
async function keepLooking(qmp: QmpClient, look: (status: unknown) => void, end: AbortSignal): Promise<void> {
  const pause = LOOK_MS[qmp.watching]
  while (!end.aborted) {
    await migrationStatus(qmp).then(look, () => {})
    await sleep(pause, undefined, { signal: end, ref: false }).catch(() => {})
  }
}

async function migrationStatus(qmp: QmpClient): Promise<string> {
  const { status = 'none' } = await qmp.execute<{ status?: string }>('query-migrate')
  return status
}

function migrating(status: string): VmapipeError {
  return new VmapipeError('FAILED', `the guest is being migrated (${status}), and cannot be backed up meanwhile`, {
    hint: 'back it up when it has arrived',
  })
}
