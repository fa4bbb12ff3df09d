import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, test } from 'node:test'

const src = join(import.meta.dirname, '../src')

/** From the ground up: a room may use those of lower or the same level. */
const LEVELS: Record<string, number> = {
  core: 0,
  formats: 1,
  protocol: 1,
  storage: 2,
  stages: 3,
  access: 4,
  live: 5,
  config: 6,
  jobs: 6,
  cli: 7,
}

const files = globSync('**/*.{ts,js}', { cwd: src })
const imports = files.flatMap((file) =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, target]) => ({
    file,
    target: target.startsWith('.') ? relative(src, join(src, dirname(file), target)) : target,
    own: target.startsWith('.'),
  })),
)
const room = (file: string) => file.split('/')[0]

describe('the architecture', () => {
  test('dependence goes one way: cli, jobs and config, live, access, stages, storage, formats and protocol, core', () => {
    const back = imports
      .filter(({ own, file, target }) => own && room(file) in LEVELS && room(target) in LEVELS)
      .filter(({ file, target }) => LEVELS[room(file)] < LEVELS[room(target)])
      .map(({ file, target }) => `${file} imports ${target}`)
    assert.deepEqual(back, [])
    assert.ok(imports.length > 50, 'the imports were found')
  })

  test('formats and protocols know nothing of each other, nor stages of the command line', () => {
    const across = imports.filter(
      ({ own, file, target }) =>
        own && room(file) !== room(target) && LEVELS[room(file)] === 1 && LEVELS[room(target)] === 1,
    )
    assert.deepEqual(across, [])
  })

  test('core alone imports streamx and stream-chain', () => {
    const others = imports.filter(({ file, target }) => /^(streamx|stream-chain)/.test(target) && room(file) !== 'core')
    assert.deepEqual(others, [])
  })

  test('packages with compiled code are loaded when they are needed: nothing imports them but for their types', () => {
    const compiled = /^import (?!type )[^'\n]*'(koffi|lz4-napi|@node-rs\/xxhash)'/m
    assert.deepEqual(
      files.filter((file) => compiled.test(readFileSync(join(src, file), 'utf8'))),
      [],
    )
  })

  test('every room is on the map', () => {
    const map = readFileSync(join(src, 'README.md'), 'utf8')
    const rooms = new Set(files.filter((file) => file.includes('/')).map(room))
    for (const name of rooms) {
      assert.ok(name in LEVELS, `${name} has a level`)
      assert.match(map, new RegExp(`^ *${name}/`, 'm'))
    }
  })

  test('files stay small enough to be read', () => {
    const large = files.filter((file) => readFileSync(join(src, file), 'utf8').split('\n').length > 330)
    assert.deepEqual(large, [])
  })
})
