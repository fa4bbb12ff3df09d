import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../../src/core/errors.ts'
import { parseMessage } from '../../../src/protocol/qmp/message.ts'

describe('a QMP message', () => {
  test('is a greeting with a version', () => {
    const line =
      '{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": " (x)"}, "capabilities": []}}'
    assert.deepEqual(parseMessage(line), {
      kind: 'greeting',
      version: { major: 10, minor: 0, micro: 2, package: '(x)' },
    })
  })

  test('is what a command returned, also where that is nothing', () => {
    assert.deepEqual(parseMessage('{"return": null, "id": 3}'), { kind: 'return', id: 3, value: null })
  })

  test('is an error with its class', () => {
    const line = '{"id": 1, "error": {"class": "DeviceNotFound", "desc": "no such thing"}}'
    assert.deepEqual(parseMessage(line), { kind: 'error', id: 1, class: 'DeviceNotFound', desc: 'no such thing' })
    assert.deepEqual(parseMessage('{"error": {}}'), {
      kind: 'error',
      id: undefined,
      class: 'unknown',
      desc: 'no description',
    })
  })

  test('is an event with its time, which the host may not know', () => {
    const line = '{"timestamp": {"seconds": 5, "microseconds": 250000}, "event": "STOP"}'
    assert.deepEqual(parseMessage(line), { kind: 'event', event: { event: 'STOP', data: {}, seconds: 5.25 } })
    const unknown = '{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "X", "data": {"id": "e"}}'
    assert.deepEqual(parseMessage(unknown), { kind: 'event', event: { event: 'X', data: { id: 'e' }, seconds: -1 } })
  })

  for (const [what, line, pattern] of [
    ['no JSON', 'QEMU 7.2.22 monitor', /'QEMU 7\.2\.22 monitor' is not JSON/],
    ['a list', '[1]', /not an object/],
    ['null', 'null', /not an object/],
    ['empty', '{}', /neither greeting, answer nor event/],
    ['an error that is a text', '{"error": "no"}', /neither greeting/],
    ['a greeting without a version', '{"QMP": {}}', /does not tell its version/],
    [
      'a greeting with a version that is none',
      '{"QMP":{"version":{"qemu":{"major":"7","minor":2,"micro":0}}}}',
      /version/,
    ],
  ] as const) {
    test(`is not ${what}`, () => assert.throws(() => parseMessage(line), { code: 'FAILED', message: pattern }))
  }

  test('that is wrapped into several lines gets a hint', () => {
    assert.throws(() => parseMessage('{'), { hint: /without pretty=on/ })
  })

  test('that is anything at all is taken or refused, never more', () => {
    const value = fc.jsonValue()
    const parts = { QMP: value, version: value, return: value, id: value, event: value, data: value, timestamp: value }
    const error = fc.record({ class: value, desc: value }, { requiredKeys: [] })
    const message = fc.record({ ...parts, error: fc.oneof(value, error) }, { requiredKeys: [] })
    const hostile = fc.constant({ error: { class: { toString: 1 }, desc: { toString: null } } })
    const check = (line: string) => {
      try {
        assert.match(parseMessage(line).kind, /^(greeting|return|error|event)$/)
      } catch (reason) {
        assert.ok(reason instanceof VmapipeError, String(reason))
      }
    }
    fc.assert(
      fc.property(fc.oneof(message, hostile, value), (any) => check(JSON.stringify(any))),
      { interruptAfterTimeLimit: 2000 },
    )
    fc.assert(fc.property(fc.string(), check), { interruptAfterTimeLimit: 2000 })
  })
})
