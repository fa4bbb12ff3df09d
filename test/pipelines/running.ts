/** Runs the pipelines of the repository by the command line. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type Outcome, vmapipe } from '../cli/cli.ts'

export const FOLDER = join(import.meta.dirname, '../../pipelines')

/** Runs a pipeline with these parameters. */
export function run(name: string, params: Record<string, string>, input?: Uint8Array): Promise<Outcome> {
  const settings = Object.entries(params).flatMap(([key, value]) => ['--set', `${key}=${value}`])
  return vmapipe(['run', join(FOLDER, name), ...settings], { input })
}

/** Its standard output. */
export async function succeeds(outcome: Promise<Outcome>): Promise<Buffer> {
  const { code, stdout, stderr } = await outcome
  assert.equal(code, 0, stderr)
  return stdout
}
