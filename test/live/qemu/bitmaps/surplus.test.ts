import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DirtyBitmap } from '../../../../src/live/qemu/bitmaps/found.ts'
import { endName, sinceName } from '../../../../src/live/qemu/bitmaps/names.ts'
import { isOurBitmap, surplus } from '../../../../src/live/qemu/bitmaps/surplus.ts'

const TARGETS = ['a', 'b', 'c'].map((letter) => letter.repeat(16))

function pair(target: string, time: number, more: Partial<DirtyBitmap> = {}): DirtyBitmap[] {
  const key = { target, uuid: time.toString(16).padStart(32, '0'), seal: '0'.repeat(16), time }
  const fields = { node: 'n', count: 0, granularity: 65536, recording: true, inconsistent: false, busy: false, ...more }
  return [sinceName(key), endName(key)].map((name) => ({ name, ...fields }))
}

const uuid = (time: number) => time.toString(16).padStart(32, '0')

test('the oldest bitmaps of a target go, never that of the parent', () => {
  const found = [1, 2, 3, 4].flatMap((time) => pair(TARGETS[0], time))
  const names = (keep: string | null) => surplus(found, { target: TARGETS[0], keep }).map(({ name }) => name)
  assert.deepEqual(
    names(null),
    [...found.slice(0, 4)].map(({ name }) => name),
  )
  assert.deepEqual(
    names(uuid(1)),
    found.slice(2, 4).map(({ name }) => name),
  )
})

test('bitmaps of other targets stay, up to a number', () => {
  const other = [1, 2, 3, 4, 5, 6, 7, 8].flatMap((time) => pair(TARGETS[1], time))
  assert.deepEqual(surplus(other, { target: TARGETS[0], keep: null }), [])
  const more = [...other, ...pair(TARGETS[2], 9)]
  assert.deepEqual(surplus(more, { target: TARGETS[0], keep: null }), other.slice(0, 2))
})

test('inconsistent ones go, and those of others stay in any number', () => {
  const lost = pair(TARGETS[0], 5, { inconsistent: true })
  const [like] = pair(TARGETS[0], 6)
  const foreign = ['checkpoint', 'vmapipe-since-', `${like.name}0123456789012`, `x${like.name}`].map((name) => ({
    ...like,
    name,
  }))
  const many = Array.from({ length: 100 }, () => foreign).flat()
  assert.deepEqual(surplus([...many, ...lost], { target: TARGETS[0], keep: uuid(5) }), lost)
  assert.deepEqual(many.filter(isOurBitmap), [])
})
