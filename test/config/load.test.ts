import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type LoadOptions, loadPipeline } from '../../src/config/load.ts'
import { stages } from '../../src/config/registry.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { writeInterceptor } from '../../src/stages/write-interceptor.ts'
import { tmpDir } from '../support/tmp.ts'
import { registry } from './fakes.ts'

/** Loads a config of this text under this name. */
function loader(t: Parameters<typeof tmpDir>[0]) {
  const dir = tmpDir(t)
  return (name: string, text: string | Uint8Array, options?: LoadOptions) => {
    const file = join(dir, name)
    writeFileSync(file, text)
    return loadPipeline(file, { registry, env: {}, ...options })
  }
}

async function fault(load: Promise<unknown>): Promise<string> {
  const error = await load.then(
    () => assert.fail('it was accepted'),
    (error) => error,
  )
  assert.ok(error instanceof VmapipeError, String(error))
  assert.equal(error.code, 'CONFIG')
  return error.line
}

const names = ({ pipeline }: Awaited<ReturnType<typeof loadPipeline>>) => pipeline.stages.map((s) => s.definition.name)

test('a config becomes a pipeline that can run', async (t) => {
  const load = loader(t)
  const text = 'name: x\nthreads: 1\nstages:\n  - source: {from: x}\n  - compressor\n  - sink: {to: y}\n'
  const config = await load('a.yaml', text)
  assert.deepEqual([config.name, config.threads, names(config)], ['x', 1, ['source', 'compressor', 'sink']])
  const { counters } = await config.pipeline.run()
  assert.equal(counters.get('read'), 0)
})

test('stages that do not fit, or leave an end open, are refused before anything runs', async (t) => {
  const load = loader(t)
  assert.match(
    await fault(load('a.yaml', 'stages: [compressor, {sink: {to: y}}]')),
    /a\.yaml: the stages do not fit: the pipeline begins without/,
  )
  assert.match(
    await fault(load('a.yaml', 'stages: [{source: {from: x}}, compressor]')),
    /the pipeline ends without a sink of bytes/,
  )
  assert.match(await fault(load('a.yaml', 'stages: [{sink: {to: y}}, {source: {from: x}}]')), /source/)
})

test('a module gives a pipeline, a map with stages, or a function of the parameters', async (t) => {
  const load = loader(t)
  const stages = "[{ source: { from: 'x' } }, 'compressor', { sink: { to: 'y' } }]"
  assert.deepEqual(names(await load('a.mjs', `export default { stages: ${stages} }`)), ['source', 'compressor', 'sink'])
  const made = await load(
    'b.mjs',
    `export default async ({ TO }) => ({ name: TO, buffer: '32MiB', stages: ${stages} })`,
    { set: { TO: 'there' } },
  )
  assert.deepEqual([made.name, made.buffer], ['there', 32 << 20])
})

test('a TypeScript module brings stages of its own, out of the same vmapipe', async (t) => {
  const load = loader(t)
  const text = `
    import { defineStage, definePipeline, VmapipeError, z } from 'vmapipe'
    interface Unused { x: number }
    const end = defineStage({ name: 'own', summary: '', input: 'nothing', output: 'nothing', options: z.strictObject({}),
      create: () => { throw new VmapipeError('DAMAGED', 'by the module itself') } })
    export default definePipeline([end()])`
  const { pipeline } = await load('a.ts', text)
  // The very same class: its code counts.
  await assert.rejects(pipeline.run(), (error) => error instanceof VmapipeError && error.exitCode === 3)
})

test('what is wrong with a module is one line of CONFIG', async (t) => {
  const load = loader(t)
  assert.match(await fault(load('a.mjs', 'export const x = 1')), /cannot load the pipeline: it has no default export/)
  assert.match(await fault(load('b.mjs', 'export default 7')), /expected a pipeline, or a map with stages/)
  assert.match(await fault(load('c.mjs', "throw new Error('so\\nthere')")), /cannot load the pipeline: so$/)
  assert.match(await fault(load('d.mjs', "export default () => { throw new Error('no') }")), /cannot be made: no/)
  assert.match(await fault(load('e.mjs', 'export default { stages: [] }', { set: { A: '1' } })), /takes no parameters/)
  assert.match(
    await fault(load('f.mjs', "export default { stages: ['sorce'] }")),
    /stages\[0\]: there is no stage 'sorce'; did you mean source/,
  )
  assert.match(await fault(load('g.mjs', "export default { stages: ['compressor'], threads: 0 }")), /threads: expected/)
  assert.match(await fault(load('h.mjs', 'export default {{')), /cannot load the pipeline/)
})

test('what is no text, or far too large, is not read', async (t) => {
  const load = loader(t)
  assert.match(await fault(load('a.yaml', Buffer.from([0xff, 0xfe, 0x00]))), /cannot read the pipeline config/)
  assert.match(await fault(load('b.yaml', Buffer.alloc((64 << 10) + 1, 'a'))), /larger than 64 KiB/)
  assert.match(await fault(loadPipeline(join(tmpDir(t), 'none.yaml'))), /no such file.*none\.yaml/)
  assert.match(await fault(loadPipeline('/dev/zero', { registry })), /neither a file nor a block device/)
})

test('a FIFO and a folder are not waited for, as text or as a module', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  for (const name of ['fifo.yaml', 'fifo.js', 'fifo.ts']) {
    execFileSync('mkfifo', [join(dir, name)])
    assert.match(await fault(loadPipeline(join(dir, name), { registry })), /fifo/)
  }
  for (const name of ['folder.yaml', 'folder.js']) {
    mkdirSync(join(dir, name))
    assert.match(await fault(loadPipeline(join(dir, name), { registry })), /folder/)
  }
})

const around = (first: string, ...middle: string[]) =>
  ['stages:', first, ...middle, 'vma-framer', 'sink: {to: y}'].join('\n  - ')

test('a write interceptor without a guest is a wrong config, in a file and in code', async (t) => {
  const load = loader(t)
  const noGuest = /needs a running guest/
  for (const stage of [
    'write-interceptor',
    'write-interceptor: {}',
    'write-interceptor: {guest: null}',
    'write-interceptor: {guest: vm1}',
  ]) {
    const text = around('cluster-source: {drives: {a: x}}', stage)
    const told = await fault(load('a.yaml', text, { registry: stages }))
    assert.match(told, noGuest)
    assert.match(told, /a\.yaml:3:\d+: stages\[1\]\.write-interceptor/)
  }
  const module = `export default { stages: [{ 'write-interceptor': {} }] }`
  assert.match(await fault(load('a.js', module, { registry: stages })), noGuest)
  for (const options of [undefined, {}, { guest: undefined }, { guest: {} }]) {
    assert.throws(() => definePipeline([writeInterceptor(options as never)]), { code: 'USAGE', message: noGuest })
  }
})

test('a guest is a source with a write interceptor, and nothing but limits between them', async (t) => {
  const load = loader(t)
  const guest = 'guest-source: {attach: /run/vm1.ctl}'
  const good = await load('good.yaml', around(guest, 'rate-limit: {rate: 1M}', 'write-interceptor', 'zero-elider'), {
    registry: stages,
  })
  assert.equal(good.pipeline.stages.length, 6)
  const cases: [string[], RegExp][] = [
    [[guest], /stages\[0\]\.guest-source: needs a write-interceptor behind it.*; put write-interceptor behind/],
    [[guest, 'zero-elider', 'write-interceptor'], /zero-elider is between it and write-interceptor/],
    [[guest, 'write-interceptor', 'write-interceptor'], /stages\[2\].*there is one for this guest already/],
    [['guest-source', 'write-interceptor'], /name one guest, by qmp, libvirt or attach/],
    [['guest-source: {qmp: a, attach: b}', 'write-interceptor'], /guest-source\.attach: name one guest/],
    [['guest-source: {attach: a, mode: push}', 'write-interceptor'], /\.mode: is for the guest of a QEMU/],
    [['guest-source: {attach: a, drives: {b: c}}', 'write-interceptor'], /drive b is the running guest's/],
    [['guest-source: {qmp: a, connect: c}', 'write-interceptor'], /\.connect: is for a guest of libvirt/],
    [['guest-source: {qmp: a, with-ram: true, mode: push}', 'write-interceptor'], /guarded push only/],
    [['guest-source: {qmp: a, with-ram: true, fsfreeze: "on"}', 'write-interceptor'], /filesystems frozen/],
    [['guest-source: {qmp: a, socket-dri: b}', 'write-interceptor'], /no option 'socket-dri'; did you mean socket-dir/],
    [
      [guest, 'write-interceptor: {max-stall: 1ms}'],
      /max-stall: expected a time such as 10s, from 100ms to 60m, got "1ms"/,
    ],
    [['guest-source: {qmp: a}', 'write-interceptor: {buffer: 64M}'], /waits in the memory of the pipeline/],
    [[guest, 'write-interceptor: {buffer: 1M}'], /at least 16\.0 MiB/],
  ]
  for (const [before, told] of cases) {
    const [first, ...middle] = before
    assert.match(await fault(load('a.yaml', around(first, ...middle), { registry: stages })), told)
  }
})
