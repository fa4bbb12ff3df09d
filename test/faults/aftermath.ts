/** What must hold after a job has failed in this very process, whatever it was that failed. */

import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { VmapipeError } from '../../src/core/errors.ts'
import { processesWith, until } from '../storage/archive/processes.ts'

/** Open files, sockets and pipes; not what belongs to Node's event loop, which it opens when it is first wanted. */
export function descriptors(): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        return 'closed'
      }
    })
    .filter((target) => !/^(closed|anon_inode:|\/proc\/\d+\/fd)/.test(target))
    .sort()
}

/** Files below the folder, as paths. */
export const files = (folder: string) => (readdirSync(folder, { recursive: true }) as string[]).sort()

/**
 * Runs a job that must fail, and looks around when it has: no process, descriptor or file is left that was not there
 * before. Returns its error, FAILED and one line.
 */
export async function aftermath(dir: string, job: () => Promise<unknown>): Promise<VmapipeError> {
  const before = { descriptors: descriptors(), files: files(dir) }
  let failure: unknown = null
  try {
    await job()
  } catch (error) {
    failure = error
  }
  await until(() => descriptors().length <= before.descriptors.length, 'the end of all files and sockets').catch(() =>
    assert.deepEqual(descriptors(), before.descriptors),
  )
  await until(() => processesWith(dir).length === 0, `the end of all processes of ${dir}`)
  assert.ok(failure instanceof VmapipeError, failure === null ? 'it did not fail' : `${failure}`)
  assert.equal(failure.exitCode, 1, failure.line)
  assert.doesNotMatch(failure.line, /\n/)
  assert.deepEqual(files(dir), before.files, failure.line)
  return failure
}
