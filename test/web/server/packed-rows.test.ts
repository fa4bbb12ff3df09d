import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { packRows } from '../../../src/web/server/packed-rows.ts'

const read = async (rows: readonly unknown[]) => JSON.parse(gunzipSync(await packRows(rows)).toString('utf8'))

test('a long list is one stream of gzip, also when some of its rows are new, moved or gone', async () => {
  let rows: unknown[] = Array.from({ length: 2600 }, (_, at) => ({ at, name: `gäst-${at}`, problem: null }))
  assert.deepEqual(await read(rows), rows)
  rows = rows.with(7, { at: 7, name: '<img src=x>' }).with(250, { at: 'first of its part' })
  assert.deepEqual(await read(rows), rows)
  // The first row of a part becomes the first of all, and the other way round.
  rows = [...rows.slice(500), ...rows.slice(0, 500)]
  assert.deepEqual(await read(rows), rows)
  assert.deepEqual(await read(rows.slice(0, -1)), rows.slice(0, -1))
  const other = [null, 1, 'text', ...rows]
  assert.deepEqual(await read(other), other)
})

test('a list that is the same is packed once', async () => {
  const rows = Array.from({ length: 1000 }, (_, at) => ({ at }))
  const first = await packRows(rows)
  assert.equal(await packRows(rows), first)
  assert.notEqual(await packRows([...rows]), first)
  assert.deepEqual(await read(rows), rows)
})
