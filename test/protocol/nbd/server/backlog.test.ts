import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backlog } from '../../../../src/protocol/nbd/server/backlog.ts'

test('what follows a pause at once was in the socket, what comes behind a full socket was not', () => {
  const backlog = new Backlog()
  backlog.passed(28, 1 << 20)
  assert.equal(backlog.since, undefined)
  backlog.passed(28, 4096)
  backlog.begin()
  const { since } = backlog
  assert.ok(since !== undefined)
  backlog.passed(28, 100_000)
  backlog.begin()
  assert.equal(backlog.since, since, 'a second pause begins with the first')
  backlog.passed(28, 1 << 20)
  assert.equal(backlog.since, since)
  backlog.passed(28, 0)
  assert.equal(backlog.since, undefined)
})

test('when the socket is empty nothing has waited there', () => {
  const backlog = new Backlog()
  backlog.passed(28, 0)
  backlog.begin()
  backlog.end()
  backlog.passed(28, 0)
  assert.equal(backlog.since, undefined)
})
