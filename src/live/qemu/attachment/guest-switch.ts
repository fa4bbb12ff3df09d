/** Makes a guest's devices use other block nodes, all of them at one instant. */

import { VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { type Command, errorsOf, executeAll, STEP_MS } from './commands.ts'
import { assertNotMigrating, type MachineState } from './migration.ts'
import { PREFIX } from './names.ts'
import { addNote, notesIn, removeNote } from './notes.ts'

export interface GuestSwitch {
  /** Lets a device use this node. */
  attach(device: string, node: string): Command
  /**
   * Runs all commands while the guest is paused, and resolves with the result of each. With a `hold`, which is given these results,
   * the pause lasts until that has ended too. Then the guest continues in every case. FAILED if it was continued in between.
   */
  whileStill(qmp: QmpClient, commands: readonly Command[], hold?: Hold): Promise<PromiseSettledResult<unknown>[]>
}

export type Hold = (results: readonly PromiseSettledResult<unknown>[]) => Promise<void>

/** The mark in QEMU from before `stop` until after `cont`, if the guest ran. A run that finds it continues the guest. */
const MARK = `${PREFIX}paused`

/**
 * The switch of a real guest: its processors stop, each device's `drive` property is set, the processors continue. Whether they
 * continue is up to the guest's owner, so its state is asked together with `stop`. `stop` is also sent to a guest that is paused
 * already, because its owner may continue it at any moment.
 */
export const realGuest: GuestSwitch = {
  attach: (path, value) => ['qom-set', { path, property: 'drive', value }],
  // Nobody else gets the monitor while the guest stands still.
  whileStill: (qmp, commands, hold) => qmp.together(() => whileStill(qmp, commands, hold)),
}

async function whileStill(
  qmp: QmpClient,
  commands: readonly Command[],
  hold?: Hold,
): Promise<PromiseSettledResult<unknown>[]> {
  let resumed = 0
  const forget = qmp.on(({ event }) => {
    if (event === 'RESUME') resumed++
  })
  try {
    const ran = await stop(qmp)
    const resume = ran ? CONTINUE : []
    resumed = 0
    const inserted = executeAll(qmp, commands)
    const look = executeAll(qmp, [['query-status']])
    // Sent together, so that the guest continues whatever becomes of this process.
    const goesOn = hold === undefined ? executeAll(qmp, resume) : null
    const results = await inserted
    const [state] = await look
    const isDone = goesOn !== null && (await goesOn).every(({ status }) => status === 'fulfilled')
    const byUs = goesOn !== null && ran ? 1 : 0
    const wentOn = resumed > byUs || (state.status === 'fulfilled' && (state.value as MachineState).running)
    try {
      if (!wentOn) await hold?.(results)
    } finally {
      // The guest continues in every case.
      if (!isDone) await executeAll(qmp, resume)
    }
    if (wentOn) throw interfered()
    return results
  } finally {
    forget()
  }
}

const CONTINUE: readonly Command[] = [['cont'], ['object-del', { id: MARK }]]

/** Whether the guest ran, and with it the mark. */
async function stop(qmp: QmpClient): Promise<boolean> {
  const marked = isLive(qmp, await assertNotMigrating(qmp))
  if (marked) await addNote(qmp, { id: MARK, text: '' })
  let stops = 0
  const forget = qmp.on(({ event }) => {
    if (event === 'STOP') stops++
  })
  // Events before the answer did not come from our `stop`.
  const asked = qmp.execute<MachineState>('query-status', undefined, { timeout: STEP_MS }).then((answer) => {
    stops = 0
    return answer
  })
  const [state, stopped] = await Promise.allSettled([asked, qmp.execute('stop', undefined, { timeout: STEP_MS })])
  forget()
  if (state.status === 'rejected' || stopped.status === 'rejected') {
    await letGoOn(qmp)
    throw errorsOf([state, stopped])[0]
  }
  // Or it was continued in between, and our `stop` has paused it again.
  const ran = isLive(qmp, state.value) || stops > 0
  if (ran && !marked) await addNote(qmp, { id: MARK, text: '' })
  if (!ran && marked) await removeNote(qmp, MARK)
  return ran
}

/** Whether `stop` and `cont` change what the guest does, and change it back. Since QEMU 9 they do so with one that sleeps. */
function isLive({ version }: QmpClient, { running, status }: MachineState): boolean {
  return running || (status === 'suspended' && version.major >= 9)
}

/** Continues a guest that we left paused, and returns whether it was one. A pause by its owner is not touched. */
export async function letGoOn(qmp: QmpClient): Promise<boolean> {
  if (!(await notesIn(qmp)).some(({ id }) => id === MARK)) return false
  const { status } = await qmp.execute<MachineState>('query-status')
  // A reset turns the first state into the second.
  const stands = status === 'paused' || status === 'prelaunch'
  if (stands) await qmp.execute('cont')
  await removeNote(qmp, MARK)
  return stands
}

function interfered(): VmapipeError {
  const message = 'the guest was let go on by somebody else in the middle of the point in time'
  return new VmapipeError('FAILED', message, { hint: 'start the backup again' })
}
