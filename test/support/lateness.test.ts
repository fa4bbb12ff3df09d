import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { lateness } from './lateness.ts'

test('what holds a machine up is counted beside the test, and is never more than all that was', async () => {
  lateness()
  await sleep(200)
  const begun = performance.now()
  const late = lateness()
  await sleep(300)
  const counted = late()
  assert.ok(counted >= 0 && counted <= 4 * (performance.now() - begun + 50), `${counted} ms`)
  // Work of the event loop holds no other thread up.
  assert.ok(late() >= counted)
})
