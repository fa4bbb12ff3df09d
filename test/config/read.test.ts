// biome-ignore-all lint/suspicious/noTemplateCurlyInString: parameters of a config look like this
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readPipeline } from '../../src/config/read.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { registry } from './fakes.ts'

function read(text: string, set: Record<string, string> = {}, env: Record<string, string> = {}) {
  return readPipeline('p.yaml', text, { set, env, registry })
}

function options(text: string, set: Record<string, string> = {}, env: Record<string, string> = {}): any[] {
  return read(text, set, env).stages.map((stage) => stage.options)
}

/** The lines of everything that is wrong. */
function faults(text: string, set: Record<string, string> = {}, env: Record<string, string> = {}): string[] {
  try {
    read(text, set, env)
  } catch (error) {
    assert.ok(error instanceof VmapipeError)
    assert.equal(error.code, 'CONFIG')
    return [error, ...(error.suppressed as VmapipeError[])].map(({ line }) => line)
  }
  assert.fail('it was accepted')
}

test('stages are names, or names with options, in YAML and in JSON', () => {
  const yaml =
    'name: x # said here\nbuffer: 32MiB\nthreads: 2\nstages:\n  - compressor\n  - compressor:\n  - compressor: {level: -3}\n'
  const parts = read(yaml)
  assert.deepEqual(
    parts.stages.map(({ definition }) => definition.name),
    ['compressor', 'compressor', 'compressor'],
  )
  assert.equal(parts.buffer, 32 << 20)
  assert.equal(parts.threads, 2)
  assert.equal((parts.stages[2].options as any).level, -3)
  const json = read('{"$schema": "x.json", "stages": ["compressor", {"source": {"from": "x"}}]}')
  assert.equal((json.stages[1].options as any).from, 'x')
})

test('a parameter comes from --set, else its default, else the environment', () => {
  const text = 'params: {A: {default: d}, B: {}, C: }\nstages: [{source: {from: "${A}-${B}-${C}"}}]'
  const env = { A: 'env-a', B: 'env-b', C: 'env-c' }
  assert.equal(options(text, {}, env)[0].from, 'd-env-b-env-c')
  assert.equal(options(text, { A: 'x', B: 'y' }, env)[0].from, 'x-y-env-c')
  assert.equal(options('stages: [{source: {from: "${HOME}/x"}}]', {}, { HOME: '/home/u' })[0].from, '/home/u/x')
})

test('a default may use the environment, and no other default', () => {
  const text = 'params: {OUT: {default: "${HOME}/x"}}\nstages: [{source: {from: "${OUT}"}}]'
  assert.equal(options(text, {}, { HOME: '/h' })[0].from, '/h/x')
  const cyclic = 'params: {A: {default: "${B}"}, B: {default: "${A}"}}\nstages: [{source: {from: "${A}"}}]'
  assert.match(faults(cyclic)[0], /p\.yaml:2:\d+: stages\[0\]\.source\.from: \$\{B\} is not set/)
})

test('a value cannot change the form of the config, and is not looked at again', () => {
  const text = 'stages: [{source: {from: "${A}"}}]'
  for (const value of ['"}}, {sink: {to: x}}]', 'a\nb: c', '*alias', '${B}', '- x', '{a: b}', '12', 'true', ''])
    assert.equal(options(text, { A: value })[0].from, value)
})

test('text of a parameter becomes a number or a boolean where the option is one', () => {
  const text =
    'stages: [{compressor: {level: "${L}", checked: "${C}", only: "${O}", method: "${M}"}}, {rate-limit: {rate: "${R}"}}]'
  const [compressor, limit] = options(text, { L: '-5', C: 'false', O: 'true', M: 'lz4', R: '100MB/s' })
  assert.deepEqual(compressor, { level: -5, checked: false, only: true, method: 'lz4' })
  assert.equal(limit.rate, 1e8)
  assert.equal(read('params: {T: {default: 3}}\nthreads: ${T}\nstages: [compressor]').threads, 3)
  assert.equal(read('threads: ${T}\nstages: [compressor]', { T: '4' }).threads, 4)
})

test('text written as text in the config is not turned into a number', () => {
  assert.deepEqual(faults('stages:\n  - compressor: {level: "3"}'), [
    'p.yaml:2:25: stages[0].compressor.level: expected a number, got "3"',
  ])
})

test('$${ is a plain ${, and other dollars are left alone', () => {
  assert.equal(options('stages: [{source: {from: "a $${X} $5 $$ ${Y}"}}]', { Y: 'y' })[0].from, 'a ${X} $5 $$ y')
})

test('keys of maps are not substituted', () => {
  assert.deepEqual(options('stages: [{sink: {to: x, drives: {"${A}": "${A}"}}}]', { A: 'v' })[0].drives, {
    '${A}': 'v',
  })
})

test('what is not set, or set for nothing, is named', () => {
  const text =
    'params:\n  TARGET: {description: where the archive goes}\n  N: {required: true}\nstages: [{source: {from: "${TARGET}"}}]'
  assert.deepEqual(faults(text), ['p.yaml:3:6: params.N: must be set; --set N=VALUE sets it, or the environment'])
  assert.match(
    faults(text, { N: '1' })[0],
    /from: \$\{TARGET\} is not set; --set TARGET=VALUE .*: where the archive goes$/,
  )
  assert.match(
    faults(text, { N: '1', TARGET: 'x', TRAGET: 'y' })[0],
    /no parameter 'TRAGET' to set; did you mean TARGET\?/,
  )
  assert.match(faults('stages: [{source: {from: "a${1x}"}}]')[0], /'\$\{1x\}' is no parameter/)
  assert.match(faults('stages: [{source: {from: "a${x"}}]')[0], /'\$\{x' has no closing brace/)
})

test('names of parameters that objects have by birth are not set', () => {
  for (const name of ['toString', '__proto__', 'constructor'])
    assert.match(faults(`stages: [{source: {from: "\${${name}}"}}]`)[0], /is not set/)
})

test('an error names file, line, column, path, and what was expected', () => {
  const text = [
    'nmae: x',
    'stages:',
    '  - source: {}',
    '  - compresor',
    '  - compressor:',
    '      levle: 3',
    '      method: zst',
    '  - compressor: {level: 99}',
    '  - compressor: {level: high}',
    '  - rate-limit: {rate: fast}',
    '  - {source: {from: x}, sink: {to: y}}',
    '  - sink: 7',
    '  - 12',
  ].join('\n')
  assert.deepEqual(faults(text), [
    "p.yaml:1:1: there is no option 'nmae'; did you mean name?",
    'p.yaml:3:13: stages[0].source.from: is missing',
    "p.yaml:4:5: stages[1]: there is no stage 'compresor'; did you mean compressor?",
    'p.yaml:7:15: stages[2].compressor.method: expected one of zstd, lz4, none, got "zst"; did you mean zstd?',
    "p.yaml:6:7: stages[2].compressor: there is no option 'levle'; did you mean level?",
    'p.yaml:8:25: stages[3].compressor.level: expected at most 19, got 99',
    'p.yaml:9:25: stages[4].compressor.level: expected a number, got "high"',
    'p.yaml:10:24: stages[5].rate-limit.rate: expected a size such as 100MB/s, got "fast"',
    'p.yaml:11:5: stages[6]: expected one stage: its name, or its name with a map of options; indent the options below the name of the stage',
    'p.yaml:12:11: stages[7].sink: expected a map of options, got 7',
    'p.yaml:13:5: stages[8]: expected one stage: its name, or its name with a map of options',
  ])
})

test('text that is no config is refused with its place', () => {
  assert.match(faults('stages: [a')[0], /^p\.yaml:1:11: /)
  assert.match(faults('a: 1\na: 2')[0], /^p\.yaml:2:1: Map keys must be unique/)
  assert.match(faults('')[0], /expected a map with `stages:`/)
  assert.match(faults('- a')[0], /expected a map with `stages:`/)
  assert.deepEqual(faults('name: x'), ['p.yaml:1:1: stages: is missing'])
  assert.deepEqual(faults('stages: []'), ['p.yaml:1:9: stages: expected at least 1 item, got a list'])
  assert.match(faults('params: {a-b: {}}\nstages: [compressor]')[0], /a parameter is named with letters/)
})

test('a small file cannot become a large value', () => {
  const levels = Array.from({ length: 12 }, (_, i) => `k${i}: &a${i} [${i ? `*a${i - 1},`.repeat(9) : 'x'}]`)
  assert.match(faults(levels.join('\n'))[0], /alias/i)
})

test('a name out of a config cannot move the cursor', () => {
  const [line] = faults('stages: ["\\e[2Jx"]')
  assert.doesNotMatch(line, /\p{Cc}/u)
})
