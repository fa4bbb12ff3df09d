import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, type TestContext, test } from 'node:test'
import { guardFamily } from '../../src/system/family-guard.ts'
import { processesWith, until } from '../storage/archive/processes.ts'

const timeout = 120_000
let count = 0

/** A shell that has ended and has left a deaf process behind, which is nobody's child any more. */
async function orphan(t: TestContext, leave: string) {
  const marker = `sleep 986${process.pid}${++count}`
  const guard = guardFamily()
  t.after(() => guard.end())
  const child = spawn('/bin/sh', ['-c', leave.replace('MARKER', marker)], { env: guard.env, stdio: 'ignore' })
  await once(child, 'exit')
  await until(() => processesWith(marker).length === 1, 'the process that is left')
  return { guard, marker }
}

describe('the family of a program', { timeout, skip: process.platform !== 'linux' && 'needs Linux' }, () => {
  for (const leave of ["trap '' TERM INT; MARKER &", "trap '' TERM; (setsid MARKER &)"]) {
    test(`is ended whichever process is its parent: ${leave}`, async (t) => {
      const { guard, marker } = await orphan(t, leave)
      guard.end()
      await until(() => processesWith(marker).length === 0, 'its end')
    })
  }

  test('goes on in the background if the program has ended by itself', async (t) => {
    const { guard, marker } = await orphan(t, 'MARKER &')
    guard.release()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    const left = processesWith(marker)
    assert.equal(left.length, 1)
    process.kill(left[0], 'SIGKILL')
  })
})
