import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ControlClient } from '../../../src/live/control/client.ts'
import { comparisonWith } from '../../../src/live/guest/comparison.ts'
import type { Parent } from '../../../src/stages/change-filter/parent.ts'

const signal = new AbortController().signal
const UUID = '00112233-4455-6677-8899-aabbccddeeff'

const parent = {
  record: { uuid: Buffer.from(UUID.replaceAll('-', ''), 'hex') },
  drive: (name: string) => (name === 'new' ? null : { clusters: 16 }),
} as unknown as Parent

/** A service that gives these answers, one after the other, and then the last one again. */
function service(...answers: object[]): ControlClient {
  return { status: async () => (answers.length > 1 ? answers.shift() : answers[0]) } as unknown as ControlClient
}

function drive(name: string, size = 1 << 20, tracked: object | undefined = {}) {
  return { name, size, ...(tracked && { tracked }) }
}

test('the parent counts only for drives that it has in the same size', async () => {
  const drives = [drive('same'), drive('larger', 2 << 20), drive('new'), drive('left out', 2 << 20)]
  const { wish } = await comparisonWith(service({ drives }), parent, ['same', 'larger', 'new'])
  assert.deepEqual(wish, { since: UUID, whole: ['larger', 'new'] })
})

test('what is read is told after the point in time', async () => {
  const since = (name: string) => ({ backup: { uuid: 'x', ...(name && { parent: { uuid: name, drives: USED } }) } })
  const USED = { a: { changed: 3 }, b: { all: 'a reason' } }
  const drives = [drive('a'), drive('b')]
  const { reasons } = await comparisonWith(service({ drives }, since(''), since(''), since(UUID)), parent, undefined)
  assert.deepEqual(await reasons('x', signal), { b: 'a reason' })
  const other = await comparisonWith(service({ drives }, since('another')), parent, undefined)
  await assert.rejects(other.reasons('x', signal), /another parent/)
})

test('an older service is not asked, and all is read', async () => {
  const drives = [{ name: 'a', size: 1 << 20 }]
  const { wish, reasons } = await comparisonWith(service({ drives }), parent, undefined)
  assert.deepEqual(wish, {})
  assert.match((await reasons('x', signal)).a, /older version/)
})
