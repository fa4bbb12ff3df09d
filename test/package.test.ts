import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { tmpDir } from './support/tmp.ts'
import { needs } from './support/tools.ts'

const ROOT = join(import.meta.dirname, '..')
const MODULES = join(ROOT, 'node_modules')

/** What somebody who installed the package would write. */
const CONSUMER = `
import {
  backup, bindStage, definePipeline, defineStage, type OperationResult, many, none, restore, sink, source, VmapipeError, verify,
  vmaDeframer, z, abort, backupGuest, type BackupGuestOptions, detach, drives, type DiskServer, type GuestStatus, guestSource,
  indexArchive, serve, vmaFramer, writeInterceptor, extractFiles, type FileEntry, listFiles, loadJob, restoreDomain,
  type RestoreDomainOptions, restoreQemu, type RunEvent, runJob, type RunReport,
} from 'vmapipe'

const shout = defineStage({
  name: 'shout',
  summary: 'an example',
  input: 'any',
  output: 'same',
  options: z.object({ times: z.number().default(1) }),
  create: ({ times }, { counters }) => (item) => {
    counters.add('shouts', times)
    return item
  },
})

// The compiler knows what flows.
export const halves = defineStage({
  name: 'halves',
  summary: 'gives each chunk twice, and none that is empty',
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({}),
  create: () => (chunk) => (chunk.byteLength === 0 ? none : many([chunk, chunk])),
})
export const wrong = defineStage({
  name: 'wrong',
  summary: 'gives what it may not give',
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({}),
  // @ts-expect-error a number is no chunk
  create: () => ({ transform: (chunk, push) => push(chunk.byteLength) }),
})
// Neighbours that fit, also by name; and two that do not.
export const fits = definePipeline([source({ from: 'x' }), bindStage('decompressor'), shout({}), vmaDeframer()])
// @ts-expect-error a sink takes bytes, the deframer gives clusters
export const misfit = () => definePipeline([source({ from: 'x' }), vmaDeframer(), shout({}), sink({ to: 'y' })])

// A guest that runs.
export async function live(options: BackupGuestOptions): Promise<GuestStatus | null | undefined> {
  const server: DiskServer = await serve({ drives: { a: 'disk.raw' }, socket: 'nbd', control: 'ctl' })
  const { drives: found } = await drives({ qmp: 'qmp' })
  console.log(found[0]?.name, server.status.backup?.clusters.total, (await detach({ libvirt: 'vm1' })).removed)
  await indexArchive({ archive: 'vm.vma' })
  await abort({ attach: 'ctl' })
  return (await backupGuest({ ...options, onGuest: ({ waiting }) => console.log(waiting.max) })).guest
}
export const guest = () =>
  definePipeline([guestSource({ attach: 'ctl' }), writeInterceptor({ 'max-stall': '5s' }), vmaFramer(), sink({ to: 'x' })])
// A night, files of a guest, and guests that can be started again.
export async function night(onEvent: (event: RunEvent) => void): Promise<RunReport> {
  const job = await loadJob('nightly.yaml')
  console.log(job.name, job.to[0]?.keep?.last, job.limits?.rate)
  return runJob(job, { onEvent, guests: ['web'], signal: AbortSignal.timeout(1000) })
}
export async function back(options: RestoreDomainOptions): Promise<FileEntry[]> {
  const { domain, manifest } = await restoreDomain(options)
  console.log(domain.files[0], manifest.drives[0]?.size, (await restoreQemu({ from: 'x', into: 'y' })).manifest.configs.length)
  console.log((await extractFiles({ from: 'x', filesystem: 'drive-scsi0:1' }, ['/etc'], 'found')).leftOut)
  return listFiles({ from: 'x' }, ['/etc'], { recursive: true })
}
// @ts-expect-error a job is loaded first
export const unloaded = () => runJob('nightly.yaml')
// @ts-expect-error a guest is restored from an archive that is named
export const unnamed: RestoreDomainOptions = { into: 'y' }
// @ts-expect-error milliseconds are a number
export const mistaken: BackupGuestOptions = { qmp: 'qmp', to: 'x', maxStall: '10s' }

const [disk = '', archive = '', into = ''] = process.argv.slice(2)
console.log(definePipeline([source({ from: archive }), shout({ times: 2 })]).output)
const made: OperationResult = await backup({ drives: { 'drive-scsi0': disk }, to: archive })
await verify({ from: archive })
await restore({ from: archive, into })
console.log(made.manifest.drives[0]?.size)
// @ts-expect-error a number is no archive
await verify({ from: 5 }).catch((error: unknown) => console.log(error instanceof VmapipeError && error.code))
`

/** A declaration without its comments and texts. */
function typesIn(declaration: string): string {
  return declaration.replace(/\/\*[\s\S]*?\*\/|\/\/.*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`[^`]*`/g, '')
}

describe('the package', { timeout: 360_000, ...needs('npm', 'tar') }, () => {
  const app = tmpDir({ after })
  const installed = join(app, 'node_modules/vmapipe')
  const run = (args: string[]) => spawnSync(process.execPath, args, { cwd: app, encoding: 'utf8' })

  // As npm installs it, but for what it depends on: that is there already, and nothing else than what it declares.
  before(() => {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', app], { cwd: ROOT })
    mkdirSync(installed, { recursive: true })
    const tarball = readdirSync(app).find((name) => name.endsWith('.tgz'))!
    execFileSync('tar', ['-xzf', join(app, tarball), '--strip-components=1', '-C', installed])
    const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    for (const name of [...Object.keys(dependencies), '@types/node']) {
      mkdirSync(dirname(join(app, 'node_modules', name)), { recursive: true })
      symlinkSync(join(MODULES, name), join(app, 'node_modules', name))
    }
    writeFileSync(join(app, 'package.json'), '{"type":"module"}')
    writeFileSync(join(app, 'use.ts'), CONSUMER)
    writeFileSync(join(app, 'disk.raw'), Buffer.alloc(100_000, 'x'))
  })

  test('has what it needs and nothing that is only for us', () => {
    const shipped = readdirSync(installed)
    for (const name of ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'package.json', 'pipelines', 'src'])
      assert.ok(shipped.includes(name), name)
    assert.deepEqual(readdirSync(join(installed, 'src/cli')).sort(), ['README.md', 'vmapipe.js'])
    for (const name of ['test', 'node_modules']) assert.ok(!shipped.includes(name), name)
  })

  test('has every page that its pages for users name', () => {
    const own = ['README.md', 'CHANGELOG.md', 'bench/RESULTS.md', 'pipelines/README.md']
    for (const page of [
      ...own,
      ...['cli', 'live', 'live/qemu', 'formats/vma'].map((room) => `src/${room}/README.md`),
    ]) {
      for (const [, target] of readFileSync(join(installed, page), 'utf8').matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)) {
        assert.ok(existsSync(join(installed, dirname(page), target)), `${page} names ${target}`)
      }
    }
  })

  test('has types that a strict compiler takes, and that refuse what is wrong', () => {
    const strict = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--skipLibCheck', 'false']
    const flags = ['--noEmit', ...strict, '--module', 'nodenext', '--target', 'es2024', '--types', 'node']
    const { status, stdout } = run([join(MODULES, '@typescript/native/bin/tsc'), ...flags, 'use.ts'])
    assert.equal(status, 0, stdout)
  })

  test('ships no declaration that takes or gives anything unchecked', () => {
    const dist = join(installed, 'dist')
    const names = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.d.ts'))
    assert.ok(names.includes('index.d.ts'))
    const loose = names.filter((name) => /\bany\b(?!:)/.test(typesIn(readFileSync(join(dist, name), 'utf8'))))
    assert.deepEqual(loose, [])
  })

  test('works as a library', () => {
    const { status, stdout, stderr } = run(['use.ts', 'disk.raw', 'a.vma.zst', 'out'])
    assert.equal(status, 0, stderr)
    assert.equal(stdout, 'bytes\n100000\nUSAGE\n')
    assert.deepEqual(readFileSync(join(app, 'out/disk-drive-scsi0.raw')), readFileSync(join(app, 'disk.raw')))
  })

  test('runs a job as a library, whose backups are processes of their own', () => {
    const job = 'guests: [{ name: web, drives: { d: disk.raw } }]\nto: { place: place, keep: { last: 1 } }\n'
    writeFileSync(join(app, 'nightly.yaml'), job, { mode: 0o600 })
    const program = `import { loadJob, runJob } from 'vmapipe'
const job = await loadJob('nightly.yaml')
const report = await runJob(job, { state: 'state', runtime: 'locks' })
console.log(report.outcome, report.guests[0].places.length, report.guests[0].reason)
await runJob(job, { sate: 'state' }).catch(({ code, message }) => console.log(code, message))`
    const { stdout, stderr } = run(['--input-type=module', '-e', program])
    assert.match(stdout, /^all 1 undefined\nUSAGE runJob: .*sate/, stderr)
  })

  test('is one clear error on an old Node, before anything that only a new one can load', () => {
    const old = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})"
    const use = `import('vmapipe').catch(({ message }) => console.log(message))`
    const { stdout } = run(['--import', old, '--input-type=module', '-e', use])
    assert.equal(stdout, 'vmapipe: Node 24 or newer is needed, this is 20.20.2\n')
    const { engines } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    assert.deepEqual(engines, { node: '>=24' })
    // What an old Node evaluates first imports nothing that it may not have.
    const entry = readFileSync(join(installed, 'dist/index.js'), 'utf8')
    assert.deepEqual(entry.match(/from '.*'/g), ["from 'node:module'"])
  })

  test('can be required', () => {
    const { stdout } = run(['-p', "typeof require('vmapipe').backup"])
    assert.equal(stdout, 'function\n')
  })

  test('works as a command, with every command there is', () => {
    const launcher = join(installed, 'src/cli/vmapipe.js')
    const { status, stdout } = run([launcher, '--version'])
    assert.equal(status, 0)
    assert.equal(stdout.trim(), JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')).version)
    const made = run([launcher, 'backup', '-q', '-d', 'd=disk.raw', '-o', 'b.vma.lz4'])
    assert.equal(made.status, 0, made.stderr)
    assert.match(run([launcher, 'list', 'b.vma.lz4']).stdout, /^DEV: dev_id=1 size: 100000 devname: d$/m)
    const config = join(installed, 'pipelines/verify.yaml')
    const ran = run([launcher, 'run', config, '--set', 'ARCHIVE=b.vma.lz4'])
    assert.equal(ran.status, 0, ran.stderr)
    assert.match(run([launcher, 'serve', '--help']).stdout, /Examples:/)
  })

  test('has its man pages and completions', () => {
    const { man } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    for (const page of man) assert.match(readFileSync(join(installed, page), 'utf8'), /^\.TH VMAPIPE/, page)
    const launcher = join(installed, 'src/cli/vmapipe.js')
    for (const [shell, file] of Object.entries({ bash: 'vmapipe.bash', zsh: '_vmapipe', fish: 'vmapipe.fish' }))
      assert.equal(
        run([launcher, 'completion', shell]).stdout,
        readFileSync(join(installed, 'dist/completions', file), 'utf8'),
      )
  })

  test('has every command in the bundle, with what it says of itself', () => {
    const launcher = join(installed, 'src/cli/vmapipe.js')
    const names = [...run([launcher, '--help']).stdout.matchAll(/^ {2}([a-z][a-z-]*) \[options\]/gm)].map(
      ([, name]) => name,
    )
    assert.ok(names.length > 15, names.join())
    for (const name of names)
      assert.match(run([launcher, name, '--help']).stdout, new RegExp(`^Usage: vmapipe ${name}`), name)
  })

  test('is one program with the stages of others, whose zod may be another one', () => {
    const stages = `import { defineStage, VmapipeError } from 'vmapipe'
import * as z from 'zod'
export const refusal = defineStage({ name: 'refusal', summary: 'refuses', input: 'any', output: 'same',
  options: z.strictObject({ what: z.string().default('it') }),
  create: ({ what }) => () => { throw new VmapipeError('USAGE', 'refuses ' + what) } })`
    writeFileSync(join(app, 'mine.js'), stages)
    const pipeline = 'use: [./mine.js]\nstages:\n  - source: { from: disk.raw }\n  - refusal\n  - sink: { to: x.raw }\n'
    writeFileSync(join(app, 'mine.yaml'), pipeline)
    const { status, stderr } = run([join(installed, 'src/cli/vmapipe.js'), 'run', 'mine.yaml'])
    assert.equal(status, 2, stderr)
    assert.match(stderr, /refuses it/)
  })

  test('names our files in a stack, which -v shows', () => {
    const { stderr } = run([join(installed, 'src/cli/vmapipe.js'), 'verify', '-v', 'disk.raw'])
    assert.match(stderr, /^ +at .*src\/[a-z-]+\/[a-z/-]+\.ts:\d+:\d+/m)
    assert.doesNotMatch(stderr, /dist\/chunks/)
  })

  test('has the licence of all that is bundled, and the files of worker threads', () => {
    const dist = join(installed, 'dist')
    const files = readdirSync(dist, { recursive: true, encoding: 'utf8' })
    const maps = files.filter((file) => file.endsWith('.map')).map((file) => readFileSync(join(dist, file), 'utf8'))
    const names = maps.flatMap((map) =>
      [...map.matchAll(/node_modules\/((?:@[^/"]+\/)?[^/"]+)\//g)].map(([, name]) => name),
    )
    assert.ok(names.includes('zod'))
    const licences = readFileSync(join(dist, 'LICENSES.txt'), 'utf8')
    for (const name of new Set(names)) assert.match(licences, new RegExp(`^${name} \\d+\\.`, 'm'))
    const starts = globSync('**/*.ts', { cwd: join(ROOT, 'src') }).filter((file) =>
      /new Worker\(/.test(readFileSync(join(ROOT, 'src', file), 'utf8')),
    )
    assert.notEqual(starts.length, 0)
    for (const file of starts) {
      const [, worker] = /\.\/([a-z-]+-worker)\b/.exec(readFileSync(join(ROOT, 'src', file), 'utf8')) ?? []
      assert.ok(
        existsSync(join(dist, dirname(file), `${worker}.js`)),
        `${file} starts a file whose name ends in -worker`,
      )
    }
  })

  test('finds what it names beside its files: the launcher, which the demo and the page start', () => {
    const chunks = join(installed, 'dist/chunks')
    const code = readdirSync(chunks).map((name) => readFileSync(join(chunks, name), 'utf8'))
    const found = code.flatMap((text) => [...text.matchAll(/new URL\("([^"]+vmapipe\.js)", new URL\("([^"]+)"/g)])
    assert.equal(found.length, 2)
    for (const [, launcher, own] of found) assert.ok(existsSync(join(chunks, dirname(own), launcher)), launcher)
  })
})
