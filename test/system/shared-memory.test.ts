import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { describe, type TestContext, test } from 'node:test'
import { SharedMemory } from '../../src/system/shared-memory.ts'

const MiB = 2 ** 20
const MODULE = new URL('../../src/system/shared-memory.ts', import.meta.url).href

function created(t: TestContext): SharedMemory {
  const shared = SharedMemory.create(4 * MiB)
  assert.ok(shared !== null)
  t.after(() => shared.close())
  return shared
}

/** What another process says to `expression`, in which `memory` is what it has opened. */
function elsewhere(shared: SharedMemory, expression: string): string {
  const program = `
    import { SharedMemory } from ${JSON.stringify(MODULE)}
    const { memory } = SharedMemory.open(${JSON.stringify(shared.place)})
    console.log(String(${expression}))`
  return execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' }).trim()
}

describe('shared memory', () => {
  test('is seen by another process, as it changes', (t) => {
    const shared = created(t)
    assert.equal(shared.memory.length, 4 * MiB)
    assert.equal(elsewhere(shared, 'memory.length + memory.indexOf(1)'), String(4 * MiB - 1))
    shared.memory.fill(7, MiB, 2 * MiB)
    assert.equal(elsewhere(shared, 'memory.indexOf(7) + memory.lastIndexOf(7)'), String(3 * MiB - 1))
    const other = SharedMemory.open(shared.place!)!
    shared.memory[5] = 9
    assert.equal(other.memory[5], 9)
    other.close()
  })

  test('is zero again where it was forgotten, for everybody', (t) => {
    const shared = created(t)
    shared.memory.fill(7)
    shared.forget(shared.memory.subarray(MiB, 2 * MiB))
    assert.equal(elsewhere(shared, 'memory[2 ** 20] + memory[0]'), '7')
    assert.deepEqual([shared.memory[MiB - 1], shared.memory[MiB], shared.memory[2 * MiB]], [7, 0, 7])
  })

  test('is not found where something else is', (t) => {
    const shared = created(t)
    const place = shared.place!
    const other = SharedMemory.create(MiB)!
    const file = openSync(import.meta.filename, 'r')
    for (const wrong of [
      { ...place, inode: other.place!.inode },
      { ...place, fd: other.place!.fd },
      { ...place, fd: file },
      { ...place, fd: 0.5 },
      { ...place, pid: 1 },
      { ...place, pid: 2 ** 30 },
      { ...place, pid: '../..' as never },
      { ...place, bytes: 8 * MiB },
    ])
      assert.equal(SharedMemory.open(wrong), null, JSON.stringify(wrong))
    closeSync(file)
    other.close()
    assert.equal(SharedMemory.open(other.place!), null, 'it is closed')
  })

  test('cannot be made shorter by others', (t) => {
    const shared = created(t)
    const write = `try { const f = fs.openSync(process.argv[1], 'r+'); fs.ftruncateSync(f, 0) } catch (e) { console.log(e.code) }`
    const path = `/proc/${process.pid}/fd/${shared.place!.fd}`
    const said = execFileSync(process.execPath, ['--eval', `const fs = require('fs'); ${write}`, path], {
      encoding: 'utf8',
    })
    assert.equal(said.trim(), 'EPERM')
  })

  test('stays readable for who has opened it, and is other memory for who has closed it', (t) => {
    const shared = created(t)
    shared.memory.fill(7)
    const other = SharedMemory.open(shared.place!)!
    shared.close()
    assert.equal(shared.memory[0], 0)
    assert.equal(other.memory[4 * MiB - 1], 7)
    other.close()
    assert.equal(other.memory[0], 0)
    shared.memory[0] = 1
    assert.equal(other.memory[0], 0)
  })
})
