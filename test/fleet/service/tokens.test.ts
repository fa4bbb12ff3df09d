import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { Tokens } from '../../../src/fleet/service/tokens.ts'

const SECRET = 's'.repeat(43)
const TEXT = `vmapipe.t1.${SECRET}`

test('the use of a token is seen at once, and written once a minute and at the end', async () => {
  const hash = createHash('sha256').update(SECRET).digest()
  const common = { name: 'host-1', kind: 'agent', guests: [], created: new Date(0), used: null, revoked: null }
  const written: unknown[][] = []
  let time = 1_000_000
  const session = { query: async (_: string, [, used]: unknown[][]) => void written.push(used) }
  const parts = {
    database: { isAway: false, query: async () => [{ id: 't1', hash, ...common }] },
    turn: { transaction: async (body: (asked: typeof session) => Promise<void>) => body(session) },
    clock: { now: () => time },
    changes: { tell() {} },
  }
  const tokens = new Tokens(parts as unknown as ConstructorParameters<typeof Tokens>[0])
  await tokens.load()
  const at = () => new Date(time).toISOString()
  /** It is used each second, and the clockwork comes each second. */
  for (let second = 0; second < 120; second++, time += 1000) {
    assert.equal((await tokens.check(TEXT))?.name, 'host-1')
    assert.equal((await tokens.list())[0].used, at())
    await tokens.writeUsed()
  }
  assert.equal(written.length, 2)
  assert.equal((await tokens.check(`${TEXT.slice(0, -1)}x`)) ?? null, null)
  await tokens.check(TEXT)
  await tokens.writeUsed(true)
  assert.deepEqual(written.at(-1), [at()])
  await tokens.writeUsed(true)
  assert.equal(written.length, 3)
})
