import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeMemberHeader, memberContentSize, memberLength } from '../../../src/formats/gzip/member.ts'

test('the header carries the length of the member', () => {
  const header = encodeMemberHeader(0x01020304)
  assert.equal(header.toString('hex'), '1f8b08040000000000ff08005650040004030201')
  assert.equal(memberLength(header, 0), 0x01020304)
})

test('a member of other make does not tell its length', () => {
  assert.equal(memberLength(Buffer.from('1f8b0800000000000003cb48cdc9c9070086a6', 'hex'), 0), undefined)
  assert.equal(memberLength(Buffer.from('1f8b0800000000000003cb48cdc9c9070086a61036', 'hex'), 0), undefined)
})

test('a length that has no room for header and trailer is refused', () => {
  assert.throws(() => memberLength(encodeMemberHeader(27), 5), { code: 'DAMAGED', where: { offset: 5 } })
  assert.equal(memberLength(encodeMemberHeader(28), 5), 28)
})

test('the content size stands at the end', () => {
  assert.equal(memberContentSize(Buffer.from('0000000005000000', 'hex')), 5)
})
