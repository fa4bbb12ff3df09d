/** What every place must do that an archive goes to and comes from; the test of each place runs these against its own. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { Budget } from '../../../src/core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../../src/core/errors.ts'
import type { ArchiveTarget, TargetOptions } from '../../../src/storage/archive/endpoint.ts'
import { openPlace } from '../../../src/storage/archive/open-place.ts'

const timeout = 120_000

/** Bytes of the sample: several pieces of a source and several parts of an upload, and no round number. */
const SIZE = 19 * 2 ** 20 + 12_345

export interface Tested {
  /** The place of this name, as a user writes it. */
  at(name: string): string
  /** Where it is read, if that is another place. */
  from?(name: string): string
}

interface Abilities {
  noReplace?: boolean
  ranges?: boolean
  /** Also stat and remove. */
  list?: boolean
  rename?: boolean
}

/** Runs the tests of the contract for a place with these abilities. `start` is called in each of them. */
export function archivePlace(title: string, has: Abilities, start: () => Tested): void {
  test(`${title}: says what it can`, () => {
    const { can, ranges, list, stat, remove, rename } = openPlace(start().at('any'))
    const { noReplace = false } = has
    assert.equal(can.noReplace, noReplace)
    assert.deepEqual([ranges, list, rename].map(Boolean), [has.ranges, has.list, has.rename].map(Boolean))
    assert.deepEqual([stat, remove].map(Boolean), [has.list, has.list].map(Boolean))
  })

  inOrder(title, has, start)
  if (has.noReplace) noReplace(title, start)
  if (has.ranges) ranges(title, start)
  if (has.list) list(title, start)
}

function inOrder(title: string, has: Abilities, start: () => Tested): void {
  test(`${title}: gives back what was written, and names it only when it is finished`, { timeout }, async () => {
    const { at, from = at } = start()
    const bytes = randomBytes(SIZE)
    const budget = new Budget(64 << 20)
    const place = openPlace(at('whole'))
    const target = place.target({ budget, expected: () => SIZE })
    await writeWhole(target, bytes, async () => {
      if (place.stat) assert.equal(await place.stat(), null)
    })
    await target.abort()
    assert.ok((await readWhole(from('whole'))).equals(bytes))
    assert.equal(budget.used, 0)
  })

  test(`${title}: an archive that is aborted never appears`, { timeout }, async () => {
    const { at, from = at } = start()
    const place = openPlace(at('aborted'))
    const budget = new Budget(64 << 20)
    const target = place.target({ budget })
    await target.open()
    await target.write([randomBytes(9 << 20)])
    await target.abort()
    await target.abort()
    if (place.stat) assert.equal(await place.stat(), null)
    else if (has.noReplace) await assert.rejects(readWhole(from('aborted')))
    assert.equal(budget.used, 0)
  })

  test(`${title}: an archive without bytes is one too`, { timeout }, async () => {
    const { at, from = at } = start()
    await writeWhole(openPlace(at('empty')).target({}), Buffer.alloc(0))
    assert.equal((await readWhole(from('empty'))).byteLength, 0)
  })

  test(`${title}: what is not there cannot be read`, { timeout }, async () => {
    const { at, from = at } = start()
    await assert.rejects(readWhole(from('missing')), (error) => asVmapipeError(error).code === 'FAILED')
    if (at === from) assert.equal((await openPlace(at('missing')).stat?.()) ?? null, null)
  })
}

function noReplace(title: string, start: () => Tested): void {
  test(`${title}: what exists is replaced only with force`, { timeout }, async () => {
    const { at } = start()
    const place = openPlace(at('twice'))
    const write = (text: string, options: TargetOptions = {}) => writeWhole(place.target(options), Buffer.from(text))
    await write('first')
    await assert.rejects(write('second'), isExists)
    assert.equal((await readWhole(at('twice'))).toString(), 'first')
    await write('third', { force: true })
    assert.equal((await readWhole(at('twice'))).toString(), 'third')
  })

  test(`${title}: what appears while it is written is not replaced either`, { timeout }, async () => {
    const { at } = start()
    const place = openPlace(at('meanwhile'))
    const target = place.target({})
    let isRefused = false
    try {
      await target.open()
      await target.write([Buffer.from('late')])
      await writeWhole(place.target({}), Buffer.from('early')).catch((error) => {
        assert.match(asVmapipeError(error).message, /is being written/)
        isRefused = true
      })
      if (isRefused) await target.finish()
      else await assert.rejects(target.finish(), isExists)
    } finally {
      await target.abort()
    }
    assert.equal((await readWhole(at('meanwhile'))).toString(), isRefused ? 'late' : 'early')
  })
}

function ranges(title: string, start: () => Tested): void {
  test(`${title}: ranges are read in any order and at once`, { timeout }, async () => {
    const place = openPlace(start().at('ranges'))
    const bytes = randomBytes(SIZE)
    await writeWhole(place.target({}), bytes)
    const open = await place.ranges!({})
    assert.equal(open.size, SIZE)
    const wanted = [
      [SIZE - 5, 5],
      [0, 1],
      [0, 4096],
      [70_000, 3 << 20],
      [65_530, 12],
      [SIZE - 200_000, 200_000],
      [5, 0],
    ]
    await Promise.all(
      wanted.map(async ([offset, length]) => {
        const buffer = Buffer.alloc(length)
        await open.read(buffer, offset)
        assert.ok(buffer.equals(bytes.subarray(offset, offset + length)), `${length} bytes at ${offset}`)
      }),
    )
    await open.close()
    await open.close()
    await assert.rejects(open.read(Buffer.alloc(10), 1 << 20))
  })
}

function list(title: string, start: () => Tested): void {
  test(`${title}: lists, looks at, renames and removes`, { timeout }, async () => {
    const { at } = start()
    const place = openPlace(at('listed-1'))
    await writeWhole(place.target({}), Buffer.from('12345'))
    await writeWhole(openPlace(at('listed-2')).target({}), Buffer.from('1'))
    const found = await place.stat!()
    assert.deepEqual([found?.name, found?.size], ['listed-1', 5])
    assert.ok(Math.abs(Date.parse(found!.modified!) - Date.now()) < 60_000)
    const names = async () => {
      const lines: string[] = []
      for await (const { name, size } of place.list!()) if (name.startsWith('listed-')) lines.push(`${name} ${size}`)
      return lines.sort()
    }
    assert.deepEqual(await names(), ['listed-1 5', 'listed-2 1'])
    if (place.rename) {
      await assert.rejects(place.rename('listed-2'), isExists)
      await place.rename('listed-3')
      assert.equal(await place.stat!(), null)
      await openPlace(at('listed-3')).remove!()
    } else await place.remove!()
    assert.deepEqual(await names(), ['listed-2 1'])
    await place.remove!()
  })
}

function isExists(error: unknown): boolean {
  return error instanceof VmapipeError && /exists and was not (overwritten|replaced)/.test(error.message)
}

/** Writes in pieces as a pipeline does. `before` runs right before the archive is finished. */
async function writeWhole(target: ArchiveTarget, bytes: Buffer, before = async () => {}): Promise<void> {
  try {
    await target.open()
    for (let at = 0; at < bytes.byteLength; at += 1 << 20) {
      const piece = bytes.subarray(at, at + (1 << 20))
      await target.write([piece.subarray(0, 1000), piece.subarray(1000)])
    }
    await target.settle?.()
    await before()
    await target.finish()
  } finally {
    await target.abort()
  }
}

async function readWhole(spec: string): Promise<Buffer> {
  const source = openPlace(spec).source({ budget: new Budget(64 << 20) })
  const pieces: Buffer[] = []
  try {
    await source.open()
    for (;;) {
      const chunk = await source.read()
      if (chunk === null) return Buffer.concat(pieces)
      for (const buffer of chunk.buffers) pieces.push(Buffer.from(buffer))
      chunk.release()
    }
  } finally {
    await source.close()
  }
}
