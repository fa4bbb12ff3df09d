/** How a guest's devices are made to use other block nodes, all of them at one instant. */

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
   * All of the commands while the guest stands still; what each came to. Then it goes on, whatever that was. Where there is a
   * `hold` it stands still until that is through, too, given what the commands came to. FAILED where it went on in between.
   */
  whileStill(qmp: QmpClient, commands: readonly Command[], hold?: Hold): Promise<PromiseSettledResult<unknown>[]>
}

export type Hold = (results: readonly PromiseSettledResult<unknown>[]) => Promise<void>

/** In QEMU from before `stop` until after `cont`: the guest ran, and who finds it paused lets it go on. */
const MARK = `${PREFIX}paused`

/**
 * Of a real guest: its processors stop, each device's `drive` property is set, they go on. Whether they go on is its owner's to
 * say, so it is asked in the same breath as they are stopped; `stop` is sent to a guest that is paused already, too, as that may
 * go on at any moment.
 */
export const realGuest: GuestSwitch = {
  attach: (path, value) => ['qom-set', { path, property: 'drive', value }],
  async whileStill(qmp, commands, hold) {
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
      // In the same breath, so that it goes on whatever becomes of us.
      const goesOn = hold === undefined ? executeAll(qmp, resume) : null
      const results = await inserted
      const [state] = await look
      const isDone = goesOn !== null && (await goesOn).every(({ status }) => status === 'fulfilled')
      const byUs = goesOn !== null && ran ? 1 : 0
      const wentOn = resumed > byUs || (state.status === 'fulfilled' && (state.value as MachineState).running)
      try {
        if (!wentOn) await hold?.(results)
      } finally {
        // The guest above all.
        if (!isDone) await executeAll(qmp, resume)
      }
      if (wentOn) throw interfered()
      return results
    } finally {
      forget()
    }
  },
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
  // What came before the answer was not of our `stop`.
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
  // Or it was let go on in between, and our `stop` has stopped it all the same.
  const ran = isLive(qmp, state.value) || stops > 0
  if (ran && !marked) await addNote(qmp, { id: MARK, text: '' })
  if (!ran && marked) await removeNote(qmp, MARK)
  return ran
}

/** Whether `stop` and `cont` change what the guest does, and change it back. Since QEMU 9 they do so with one that sleeps. */
function isLive({ version }: QmpClient, { running, status }: MachineState): boolean {
  return running || (status === 'suspended' && version.major >= 9)
}

/** A guest that was left standing still by us goes on. Whether there was one; its owner's pause is not touched. */
export async function letGoOn(qmp: QmpClient): Promise<boolean> {
  if (!(await notesIn(qmp)).some(({ id }) => id === MARK)) return false
  const { status } = await qmp.execute<MachineState>('query-status')
  // The second is what a reset makes of the first.
  const stands = status === 'paused' || status === 'prelaunch'
  if (stands) await qmp.execute('cont')
  await removeNote(qmp, MARK)
  return stands
}

function interfered(): VmapipeError {
  const message = 'the guest was let go on by somebody else in the middle of the point in time'
  return new VmapipeError('FAILED', message, { hint: 'start the backup again' })
}
