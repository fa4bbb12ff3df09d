import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LineSplitter } from '../../../src/protocol/qmp/lines.ts'

const pushed = (lines: LineSplitter, text: string) => [...lines.push(Buffer.from(text))]

describe('lines', () => {
  test('come out whole, however the bytes were cut', () => {
    const text = '{"a":1}\r\n\n{"é":"\u{1f600}"}\n'
    for (let size = 1; size <= Buffer.byteLength(text); size++) {
      const lines = new LineSplitter()
      const bytes = Buffer.from(text)
      const out: string[] = []
      for (let at = 0; at < bytes.length; at += size) out.push(...lines.push(bytes.subarray(at, at + size)))
      assert.deepEqual(out, ['{"a":1}', '', '{"é":"\u{1f600}"}'], `in pieces of ${size}`)
      assert.equal(lines.pending, 0)
    }
  })

  test('that are not complete are waited for', () => {
    const lines = new LineSplitter()
    assert.deepEqual(pushed(lines, 'half'), [])
    assert.equal(lines.pending, 4)
    assert.deepEqual(pushed(lines, ' and half\nrest'), ['half and half'])
    assert.equal(lines.pending, 4)
  })

  test('may be as long as the bound, and no longer', () => {
    assert.deepEqual(pushed(new LineSplitter(5), '12345\n'), ['12345'])
    const lines = new LineSplitter(5)
    pushed(lines, '1234')
    assert.throws(() => pushed(lines, '56'), { code: 'FAILED', message: /more than 5 bytes/ })
    assert.throws(() => pushed(new LineSplitter(5), '123456\n'), /more than 5 bytes/)
  })
})
