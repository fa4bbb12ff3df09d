/** The lock of a host's agent: two would give one planner two answers, and take each other's events. */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { ownFolder } from '../../jobs/state/folders.ts'
import { lockFile } from '../../storage/partial-lock.ts'

/** Locks until the file is closed. Errors: FAILED if another agent has the folder of the state. */
export async function lockAgent(state: string): Promise<FileHandle> {
  const folder = await ownFolder(join(state, 'fleet'))
  const file = await open(join(folder, 'agent.lock'), 'a', 0o600)
  if ((await lockFile(file)) !== 'busy') return file
  await file.close()
  throw new VmapipeError('FAILED', `another agent runs with the state in '${state}'`, {
    hint: 'a host has one agent; another state folder is VMAPIPE_STATE=…',
  })
}
