/** Tests run against real programs: one that is missing skips the test on a user's machine, and fails it in CI. */

import { delimiter } from 'node:path'
import type { TestContext } from 'node:test'
import { findProgram } from '../../src/system/child.ts'

/** Where `program` is on the PATH; /usr/sbin and /sbin count too (sshd lives there). */
export function which(program: string): string | undefined {
  return findProgram(program, [process.env.PATH, '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter))
}

/** Options for `test()`: skips with a reason where one of the programs is missing, except in CI, where the test then runs and fails. */
export function needs(...programs: string[]): { skip: string | false } {
  const missing = programs.filter((program) => which(program) === undefined)
  if (missing.length === 0 || process.env.CI) return { skip: false }
  return { skip: `needs ${missing.join(', ')}` }
}

/** Ends a test for which this machine lacks something that shows only when it is tried: skipped, except in CI, where it fails. */
export function lacking(t: Pick<TestContext, 'skip'>, reason: string): void {
  if (process.env.CI) throw new Error(reason)
  t.skip(reason)
}
