import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import { Bell } from '../../src/core/bell.ts'

describe('a bell', () => {
  test('wakes all that wait, and only them', async () => {
    const bell = new Bell()
    const woken: string[] = []
    const wait = async (name: string) => {
      await bell.next()
      woken.push(name)
    }
    bell.ring()
    void wait('a')
    void wait('b')
    await tick()
    assert.deepEqual(woken, [], 'a ring that nobody waited for is forgotten')
    bell.ring()
    void wait('c')
    await tick()
    assert.deepEqual(woken, ['a', 'b'])
    bell.ring()
    await tick()
    assert.deepEqual(woken, ['a', 'b', 'c'])
  })

  test('lets a loop wait for what it needs', async () => {
    const bell = new Bell()
    let count = 0
    const three = (async () => {
      while (count < 3) await bell.next()
    })()
    for (; count < 3; count++) {
      bell.ring()
      await tick()
    }
    bell.ring()
    await three
  })
})
