/**
 * Our notes in a QEMU, for the next run after one that was killed. Each is an object of the kind `secret` that nothing uses: every
 * build of QEMU has these and shows their content. What we write there is not secret.
 */

import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'
import { STEP_MS } from './commands.ts'
import { isOurs } from './names.ts'

const FOLDER = '/objects'
const KIND = 'secret'

export interface Note {
  id: string
  text: string
}

/** QEMU refuses a second note of the same id. */
export async function addNote(qmp: QmpClient, { id, text }: Note): Promise<void> {
  await qmp.execute('object-add', { 'qom-type': KIND, id, data: text }, { timeout: STEP_MS })
}

export async function removeNote(qmp: QmpClient, id: string): Promise<void> {
  await qmp.execute('object-del', { id }, { timeout: STEP_MS })
}

export async function notesIn(qmp: QmpClient): Promise<Note[]> {
  const found = await orRefused(
    qmp.execute<{ name: string; type: string }[]>('qom-list', { path: FOLDER }, { timeout: STEP_MS }),
  )
  const ours = (found ?? []).filter(({ name, type }) => isOurs(name) && type === `child<${KIND}>`)
  const notes = ours.map(async ({ name: id }) => {
    const args = { path: `${FOLDER}/${id}`, property: 'data' }
    const text = await orRefused(qmp.execute<unknown>('qom-get', args, { timeout: STEP_MS }))
    return text === undefined ? [] : [{ id, text: String(text) }]
  })
  return (await Promise.all(notes)).flat()
}

/** A QEMU that never had an object has no folder for them; one that was there a moment ago may be gone. */
async function orRefused<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (qmpErrorClass(error) === undefined) throw error
    return undefined
  }
}
