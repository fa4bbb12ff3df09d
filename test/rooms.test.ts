import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { EVERYTHING, FIRST, LONG, QUICK } from './rooms.ts'

test('every room is in the quick tests or is left out with a reason, and each that is named has tests', () => {
  const found = globSync('**/*.test.ts', { cwd: import.meta.dirname }).map((file) => file.split('/')[0])
  assert.deepEqual([...EVERYTHING].sort(), [...new Set(found)].sort())
  for (const [room, reason] of Object.entries(LONG)) {
    assert.ok(!QUICK.includes(room), room)
    assert.ok(existsSync(join(import.meta.dirname, room)), room)
    assert.match(reason, /\w+ \w+/, room)
  }
  assert.deepEqual(
    FIRST.filter((file) => !existsSync(join(import.meta.dirname, file))),
    [],
  )
})

test('npm test runs all rooms, and npm run test:quick the quick ones, each after the check', () => {
  const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
  assert.equal(scripts.test, 'npm run check && node test/run.ts')
  assert.equal(scripts['test:quick'], 'npm run check && node test/run.ts --quick')
})

test('every file that the notes for contributors name is there', () => {
  const notes = readFileSync(join(import.meta.dirname, 'README.md'), 'utf8')
  const named = [...notes.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, target]) => target)
  assert.ok(named.length > 20)
  for (const target of named) assert.ok(existsSync(join(import.meta.dirname, target)), target)
  // And every kind of hostility has its row.
  for (const file of globSync('fuzz/*.test.ts', { cwd: import.meta.dirname })) assert.ok(named.includes(file), file)
})
