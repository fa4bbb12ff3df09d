import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget } from '../../../../src/core/budget.ts'
import { MOST_PARTS, partMemory } from '../../../../src/storage/archive/s3/part-size.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

test('parts take at most half of the budget, and as few as the drives need', () => {
  const warnings: string[] = []
  const parts = (buffer: number, expected: number) => {
    const budget = new Budget(buffer)
    const { partBytes, count } = partMemory({ budget, expected, warn: (line) => warnings.push(line) })
    assert.ok(partBytes * MOST_PARTS > expected * 1.008, 'an archive of random data fits')
    assert.ok(partBytes >= 5 * MIB, 'as small as a store takes')
    return [partBytes / MIB, count, (buffer - budget.capacity) / MIB]
  }
  assert.deepEqual(parts(64 * MIB, 10 * GIB), [8, 4, 32])
  assert.deepEqual(parts(16 * MIB, 10 * GIB), [8, 1, 8])
  assert.deepEqual(parts(64 * MIB, 100 * GIB), [11, 2, 22])
  assert.deepEqual(parts(1024 * MIB, 1024 * GIB), [107, 4, 428])
  assert.deepEqual(parts(64 * MIB, 0), [16, 2, 32], 'of a size that nobody knows')
  assert.deepEqual(warnings, [])
  assert.deepEqual(parts(64 * MIB, 1024 * GIB), [107, 2, 0], 'beside the usual budget')
  assert.match(
    String(warnings),
    /drives of 1(\.0)? TiB take parts of 107(\.0)? MiB.*the upload takes 214(\.0)? MiB of memory/,
  )
})

test('a budget that the user has chosen is kept, or what is needed is told', () => {
  const choose = (buffer: number, expected: number) =>
    partMemory({ budget: new Budget(buffer), expected, warn: () => assert.fail('no warning') })
  assert.throws(() => choose(128 * MIB, 1024 * GIB), { code: 'USAGE', hint: /allow a larger --buffer, at least 460/ })
  assert.throws(() => choose(64 * MIB, 60 * 1024 * GIB), { code: 'USAGE', message: /do not fit into one object/ })
})
