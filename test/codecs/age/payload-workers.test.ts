import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { byLibcrypto } from '../../../src/codecs/age/chunk-cipher.ts'
import { PayloadWorkers } from '../../../src/codecs/age/payload-workers.ts'
import { CHUNK, SEALED, TAG } from '../../../src/formats/age/payload.ts'

const key = randomBytes(32)
const CHUNKS = 3
const LAST = 1000
const sealedBytes = (CHUNKS - 1) * SEALED + LAST + TAG

/** Memory with the content of three chunks, each with room for its tag. */
function slot(): ArrayBuffer {
  const memory = new ArrayBuffer(CHUNKS * SEALED)
  for (let at = 0; at < CHUNKS; at++) new Uint8Array(memory, at * SEALED, CHUNK).fill(at + 1)
  return memory
}

const WAYS = { libcrypto: byLibcrypto(), threads: null }

for (const [name, cipher] of Object.entries(WAYS)) {
  const others = Object.values(WAYS).find((other) => other !== cipher)!
  describe(`a payload by ${name}`, { timeout: 60_000 }, () => {
    const made = (seal: boolean, by = cipher) => new PayloadWorkers(key, { seal, limit: 2, cipher: by })

    test('is sealed in order, and opened by the other way too', async () => {
      for (const by of [cipher, others]) {
        const [sealer, opener] = [made(true), made(false, by)]
        const jobs = [0, CHUNKS, 2 * CHUNKS].map((first) => ({ from: 0, sealedBytes, first, isLast: first > CHUNKS }))
        const sealed = await Promise.all(jobs.map((job) => sealer.run({ memory: slot(), ...job })))
        const opened = await Promise.all(sealed.map(({ memory }, at) => opener.run({ memory, ...jobs[at] })))
        for (const { memory, failed } of opened) {
          assert.equal(failed, -1)
          for (let at = 0; at < CHUNKS; at++) {
            const content = new Uint8Array(memory, at * SEALED, at === CHUNKS - 1 ? LAST : CHUNK)
            assert.ok(content.every((byte) => byte === at + 1))
          }
        }
        await Promise.all([sealer.close(), opener.close()])
      }
    })

    test('says which chunk is not authentic, and whether the payload would end there or go on', async () => {
      const [sealer, opener] = [made(true), made(false)]
      const job = { from: 0, sealedBytes, first: 0, isLast: true }
      const { memory } = await sealer.run({ memory: slot(), ...job })
      const cut = await opener.run({ memory, ...job, isLast: false })
      assert.deepEqual([cut.failed, cut.isElsewhere], [CHUNKS - 1, true])
      const broken = (await sealer.run({ memory: slot(), ...job })).memory
      new Uint8Array(broken)[SEALED] ^= 1
      const changed = await opener.run({ memory: broken, ...job })
      assert.deepEqual([changed.failed, changed.isElsewhere], [1, false])
      await Promise.all([sealer.close(), opener.close()])
    })

    test('may be ended at any time', async () => {
      for (let pause = 0; pause < 200; pause += 20) {
        const workers = made(true)
        const work = [0, 1].map((at) => workers.run({ memory: slot(), from: 0, sealedBytes, first: at, isLast: false }))
        const settled = Promise.allSettled(work)
        await sleep(pause)
        await workers.close()
        for (const result of await settled)
          if (result.status === 'rejected') assert.equal(result.reason.code, 'ABORTED')
        await assert.rejects(workers.run({ memory: slot(), from: 0, sealedBytes, first: 0, isLast: true }), {
          code: 'ABORTED',
        })
      }
    })
  })
}
