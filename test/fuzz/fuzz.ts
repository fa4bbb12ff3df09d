/**
 * Runs a property on made-up inputs for a limited time. What each of them may do is the same everywhere: succeed, or fail
 * with a VmapipeError that says so in one line of bearable length; within a time, and without much memory.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ErrorCode, EXIT_CODES, VmapipeError } from '../../src/core/errors.ts'

/** The suite tries the same inputs each time, as many as there is time for: new ones are for `npm run fuzz`. */
const seed = Number(process.env.VMAPIPE_SEED ?? 1)

/** How long each property goes on. */
const seconds = Number(process.env.VMAPIPE_FUZZ_SECONDS ?? 2)

/** A single input takes milliseconds; one that takes so long hangs. */
const HANG_MS = 30_000

/** What the process may grow by unless told otherwise: a budget, the codecs' own memory, and what is not collected yet. */
const GROWTH = 768 << 20

/** No error says more than fits on a screen, whatever it quotes. */
const LONGEST_LINE = 2500

interface FuzzOptions {
  /** Bytes that the process may grow by. */
  growth?: number
  skip?: string | false
}

/** A test that gives `check` one input after the other until the time is over; prints how it is repeated when it fails. */
export function fuzz<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  check: (input: T) => void | Promise<void>,
  { growth: allowed = GROWTH, skip = false }: FuzzOptions = {},
): void {
  const limit = seconds * 1000
  test(name, { timeout: limit + 2 * HANG_MS, skip }, async (t) => {
    const before = process.memoryUsage.rss()
    let runs = 0
    let last: Promise<void> = Promise.resolve()
    const one = async (input: T) => {
      runs++
      await check(input)
      const growth = process.memoryUsage.rss() - before
      assert.ok(growth < allowed, `the process has grown by ${growth >> 20} MiB`)
    }
    const property = fc.asyncProperty(inputs, (input) => {
      last = one(input)
      return last
    })
    const options = { seed, numRuns: 2 ** 31, interruptAfterTimeLimit: limit, timeout: HANG_MS }
    const details = await fc.check(property, options)
    // When the time is over nobody has waited for the one that is under way. On a busy machine it may be the first one: then it counts.
    const isFirst = details.interrupted && details.numRuns === 0 && runs > 0
    await (isFirst ? last : last.catch(() => {}))
    if (details.failed && !isFirst) throw new Error(fc.defaultReportMessage(details), { cause: details.errorInstance })
    t.diagnostic(`${runs} inputs, VMAPIPE_SEED=${seed}`)
  })
}

/** What an attempt came to: a value, or an error of one of the codes that are right for it. */
export async function attempt<T>(work: () => T | Promise<T>, ...codes: ErrorCode[]): Promise<T | VmapipeError> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof VmapipeError)) throw error
    checkError(error, codes)
    return error
  }
}

export function checkError(error: VmapipeError, codes: readonly ErrorCode[]): void {
  assert.ok(codes.includes(error.code), `${error.code}, exit ${EXIT_CODES[error.code]}: ${error.line}`)
  assert.ok(error.line.length < LONGEST_LINE, `a line of ${error.line.length}: ${error.line.slice(0, 200)}`)
  assert.doesNotMatch(error.line, /[\x00-\x1f\x7f]/)
  for (const other of error.suppressed) {
    assert.ok(other instanceof VmapipeError, `suppressed: ${other}`)
  }
}
