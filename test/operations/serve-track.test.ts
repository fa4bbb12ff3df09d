import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiskServer } from '../../src/operations/serve.ts'

test('where changes are tracked must be known, and a sole writer matters only then', () => {
  const drives = { a: 'disk.raw' }
  assert.throws(() => new DiskServer({ drives, socket: 's', track: true }), /where changes are tracked/)
  assert.throws(() => new DiskServer({ drives, socket: 's', soleWriter: true }), /only if changes are tracked/)
  assert.doesNotThrow(() => new DiskServer({ drives, socket: 's', track: 'folder', soleWriter: true }))
})
