/** A served disk against a model: random requests over several connections, and the real file at the end. */

import assert from 'node:assert/strict'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { NbdServer } from '../../../src/protocol/nbd/server/server.ts'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { tmpDir } from '../../support/tmp.ts'
import { checkExtents, randomFrom } from '../contract.ts'

const timeout = 240_000
const SIZE = 3 * 2 ** 20 + 777
const CONNECTIONS = 4
const WORKERS_EACH = 4
const RUN_MS = 2500

type Random = ReturnType<typeof randomFrom>

/** Ranges in use: requests that touch the same bytes at once may be done in any order, which no model can know. */
class Claims {
  readonly #ranges = new Set<readonly [number, number]>()

  tryTake(from: number, to: number): (() => void) | null {
    for (const [start, end] of this.#ranges) if (from < end && start < to) return null
    const range = [from, to] as const
    this.#ranges.add(range)
    return () => this.#ranges.delete(range)
  }
}

/** Lengths that servers trip over: tiny, odd, around pages, large. */
function pick(random: Random): [offset: number, length: number] {
  const length = [random(10), random(5000), 4096, 4095 + random(3), 65536, random(400_000)][random(6)]
  const offset = random(3) === 0 ? 4096 * random(Math.floor(SIZE / 4096)) : random(SIZE)
  return [offset, Math.min(length, SIZE - offset)]
}

async function step(client: NbdClient, model: Buffer, random: Random, offset: number, length: number): Promise<void> {
  const now = model.subarray(offset, offset + length)
  const fua = random(8) === 0
  switch (random(7)) {
    case 0:
    case 1:
    case 2: {
      const bytes = Buffer.alloc(length)
      for (let i = 0; i < length; i++) bytes[i] = (offset + i * 31) & 255
      bytes.fill(random(256), 0, Math.min(8, length))
      await client.write([bytes], offset, { fua })
      bytes.copy(model, offset)
      return
    }
    case 3:
      await client.writeZeroes(offset, length, { fua, noHole: random(2) === 0 })
      now.fill(0)
      return
    case 4: {
      await client.trim(offset, length)
      const left = Buffer.alloc(length)
      await client.read(left, offset)
      assert.ok(
        left.every((byte, i) => byte === 0 || byte === now[i]),
        'after a trim there is the old or nothing',
      )
      left.copy(now)
      return
    }
    case 5: {
      if (length === 0) return
      const extents = []
      for await (const extent of client.extents(offset, length)) {
        extents.push({ offset: extent.offset, length: extent.length, zero: extent.flags !== 0 })
      }
      checkExtents(extents, model, offset, length)
      return
    }
    default: {
      const bytes = Buffer.alloc(length, 0xee)
      await client.read(bytes, offset)
      assert.ok(bytes.equals(now), `read ${offset}+${length}`)
    }
  }
}

async function serveFile(t: TestContext) {
  const folder = tmpDir(t)
  const path = join(folder, 'disk')
  writeFileSync(path, '')
  truncateSync(path, SIZE)
  const disk = await openDisk(path)
  const server = new NbdServer([{ name: 'd', disk }])
  const socketPath = join(folder, 'nbd')
  await server.listenOnPath(socketPath)
  return { path, disk, server, connect: () => NbdClient.connect({ socketPath, exportName: 'd' }) }
}

test(`random requests over ${CONNECTIONS} connections leave what a model has`, { timeout }, async (t) => {
  const seed = Date.now()
  t.diagnostic(`seed ${seed}`)
  const { path, disk, server, connect } = await serveFile(t)
  const model = Buffer.alloc(SIZE)
  const claims = new Claims()
  const deadline = performance.now() + RUN_MS
  let steps = 0
  const worker = async (client: NbdClient, random: Random) => {
    // On a busy machine until there were enough.
    while (performance.now() < deadline || steps <= 200) {
      const [offset, length] = pick(random)
      const release = claims.tryTake(offset, offset + length)
      if (!release) {
        await new Promise(setImmediate)
        continue
      }
      await step(client, model, random, offset, length).catch((error) => {
        throw new Error(`seed ${seed}, step ${steps}, ${offset}+${length}`, { cause: error })
      })
      release()
      if (++steps % 50 === 0) await client.flush()
    }
  }
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, connect))
  const work = clients.flatMap((client, i) =>
    Array.from({ length: WORKERS_EACH }, (_, j) => worker(client, randomFrom(seed + 100 * i + j))),
  )
  await Promise.all(work)
  for (const client of clients) await client.close()
  await server.close()
  await disk.close()
  assert.ok(readFileSync(path).equals(model), `seed ${seed}: the file`)
  assert.equal(server.stats.errors, 0)
  assert.equal(server.stats.inFlight, 0)
})

test('a hole of a terabyte is told in a moment', { timeout }, async (t) => {
  const { path, disk, server } = await serveFile(t)
  await server.close()
  await disk.close()
  truncateSync(path, 2 ** 40)
  const large = await openDisk(path)
  const again = new NbdServer([{ name: 'd', disk: large }])
  const socketPath = `${path}.nbd`
  await again.listenOnPath(socketPath)
  const client = await NbdClient.connect({ socketPath, exportName: 'd' })
  let count = 0
  for await (const { flags } of client.extents(0, 2 ** 40)) {
    assert.equal(flags, 3)
    count++
  }
  assert.ok(count <= 512, `${count} extents`)
  await client.close()
  await again.close()
  await large.close()
})
