import assert from 'node:assert/strict'
import { test } from 'node:test'
import { delay } from '../../src/stages/delay.ts'
import { throughBytes } from '../support/bytes.ts'

const chunks = Array.from({ length: 4 }, (_, index) => Buffer.alloc(1000, index))

async function secondsOf(options: Parameters<typeof delay>[0]): Promise<number> {
  const started = performance.now()
  assert.ok((await throughBytes(delay(options), chunks)).equals(Buffer.concat(chunks)))
  return (performance.now() - started) / 1000
}

test('each item waits for its milliseconds', async () => {
  assert.ok((await secondsOf({ ms: 30 })) >= 0.12)
})

test('each item waits for as long as its bytes take, from the first one on', async () => {
  assert.ok((await secondsOf({ rate: 20_000 })) >= 0.2)
})

test('an abort ends a wait of days', { timeout: 60_000 }, async () => {
  const run = throughBytes(delay({ ms: 2 ** 40 }), chunks, { signal: AbortSignal.timeout(100) })
  await assert.rejects(run, { code: 'ABORTED' })
})

test('a delay of nothing is refused', () => {
  assert.throws(() => delay({}), { code: 'USAGE', message: /expected ms, rate, or both/ })
})
