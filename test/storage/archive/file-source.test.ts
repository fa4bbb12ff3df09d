import assert from 'node:assert/strict'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Budget } from '../../../src/core/budget.ts'
import { archiveSource } from '../../../src/storage/archive/source.ts'
import { tmpDir } from '../../support/tmp.ts'
import { shellCopy } from './processes.ts'
import { numbered, readAll } from './reading.ts'

const MIB = 1 << 20

for (const size of [0, 1, 65536, 4 * MIB, 11 * MIB + 5]) {
  test(`a file of ${size} bytes is read whole and in order, within the budget`, async (t) => {
    const path = join(tmpDir(t), 'in')
    writeFileSync(path, numbered(size))
    const budget = new Budget(16 * MIB)
    const source = archiveSource(path, { budget })
    await source.open()
    assert.equal(source.size, size)
    assert.ok((await readAll(source)).equals(numbered(size)))
    await source.close()
    assert.equal(budget.used, 0)
  })
}

test('a small budget is shared by several pieces, so that a reader that needs two can go on', async (t) => {
  const path = join(tmpDir(t), 'in')
  writeFileSync(path, numbered(4 * MIB))
  const source = archiveSource(path, { budget: new Budget(MIB) })
  await source.open()
  const held = []
  for (let count = 0; count < 8; count++) held.push((await source.read())!)
  for (const chunk of held) chunk.release()
  await source.close()
})

test('closing gives back what was read ahead, and may be repeated', async (t) => {
  const path = join(tmpDir(t), 'in')
  writeFileSync(path, numbered(20 * MIB))
  const budget = new Budget(64 * MIB)
  const source = archiveSource(path, { budget })
  await source.open()
  ;(await source.read())!.release()
  assert.ok(budget.used > 0)
  await source.close()
  await source.close()
  assert.equal(budget.used, 0)
})

test('a file that becomes shorter while it is read is an error that says where', async (t) => {
  const path = join(tmpDir(t), 'in')
  writeFileSync(path, numbered(MIB))
  const source = archiveSource(path, { budget: new Budget(64 * MIB) })
  await source.open()
  truncateSync(path, 1000)
  await assert.rejects(source.read(), { code: 'FAILED', message: /became shorter/, where: { offset: 1000 } })
  await source.close()
})

test('a closed budget ends the read', async (t) => {
  const path = join(tmpDir(t), 'in')
  writeFileSync(path, numbered(MIB))
  const budget = new Budget(64 * MIB)
  const source = archiveSource(path, { budget })
  await source.open()
  budget.close(new Error('the run has failed'))
  await assert.rejects(source.read(), { message: 'the run has failed' })
  await source.close()
})

test('a character device is read to its end', async () => {
  const source = archiveSource('/dev/null', { budget: new Budget(MIB) })
  await source.open()
  assert.equal(source.size, undefined)
  assert.equal(await source.read(), null)
  await source.close()
})

test('a file that is missing, a folder and a socket are clear errors', async (t) => {
  const dir = tmpDir(t)
  const open = (path: string) => archiveSource(path, { budget: new Budget(MIB) }).open()
  await assert.rejects(open(join(dir, 'no')), { code: 'ENOENT' })
  await assert.rejects(open(dir), { code: 'USAGE', message: /is a folder/ })
})

test('standard input that is a file is read from where it stands', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'in'), `first line\n${'archive '.repeat(1e6)}`)
  const { code, stderr } = await shellCopy(
    `cd '${dir}'; { read -r line; test "$line" = 'first line'; $COPY - out; } <in && tail -n +2 in | cmp - out`,
  )
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})
