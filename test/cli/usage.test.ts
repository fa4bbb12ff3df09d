import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }
const COMMANDS = [
  'backup',
  'restore',
  'verify',
  'list',
  'config',
  'partitions',
  'files',
  'export',
  'serve',
  'drives',
  'detach',
  'run',
  'stages',
  'new-stage',
  'schema',
  'demo',
]

test('every command has help with an example and the exit codes', limits, async () => {
  const texts = await Promise.all(COMMANDS.map((command) => vmapipe([command, '--help'])))
  for (const [index, { code, stdout }] of texts.entries()) {
    assert.equal(code, 0)
    assert.match(stdout.toString(), new RegExp(`Examples:\n  (.* \\| )?vmapipe ${COMMANDS[index]}`))
    assert.match(stdout.toString(), /Exit codes: 0 done, 1 failed, 2 wrong usage/)
  }
})

test('wrong usage is one line on standard error and exit code 2', limits, async (t) => {
  const dir = tmpDir(t)
  const cases: [string[], RegExp][] = [
    [['bakup'], /unknown command 'bakup'; did you mean backup\?/],
    [['backup', '--dirve', 'x=y', '-o', 'a.vma'], /unknown option '--dirve'; did you mean --drive\?/],
    [['backup', '-d', 'x=y'], /required option '-o, --output <target>' not specified/],
    [['backup', '-o', 'a.vma'], /nothing to back up/],
    [['backup'], /nothing to back up; name a drive \(-d drive-scsi0=disk\.raw\), or a running guest/],
    [
      ['backup', 'disk.raw', 'out.vma'],
      /'disk\.raw' is no option; drives and the target are given by options; such as: vmapipe/,
    ],
    [['backup', '-d', './disk.raw', '-o', 'a.vma'], /write it as drive-scsi0=\.\/disk\.raw/],
    [['backup', '-d', 'x', '-o', 'a.vma'], /write it as (drive-scsi0|x)=disk\.raw/],
    [['backup', '-d', 'x=', '-o', 'a.vma'], /write it as (drive-scsi0|x)=disk\.raw/],
    [['backup', '-d', 'x=a', '-d', 'x=b', '-o', 'a.vma'], /drive name 'x' is given twice/],
    [['backup', '-d', 'a/b=x', '-o', 'a.vma'], /drive name 'a\/b' has a slash in it; Proxmox calls drives drive-scsi0/],
    [['backup', '-d', '..=x', '-o', 'a.vma'], /drive name '\.\.' is not allowed/],
    [['backup', '-d', '__proto__=x', '-o', 'a.vma'], /drive name '__proto__' is not allowed/],
    [['backup', '-d', 'a\x1b[2J=x', '-o', 'a.vma'], /drive name 'a\\u\{1b\}\[2J' has control characters/],
    [['backup', '-c', 'a/x', '-c', 'b/x', '-o', 'a.vma'], /config file name 'x' is given twice/],
    [['backup', '-d', 'x=y', '-o', 'a.tar'], /name 'a\.tar' does not tell the compression; .*--compress/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--compress', 'zst'], /'zst' is not a compression; write zstd/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--compress', 'lz4:3'], /'lz4:3' is not a compression/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--compress', 'zstd:99'], /level.*99/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--bwlimit', 'fast'], /'fast' is wrong: write it as 50MiB\/s/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--threads', '0'], /from 1 to 256/],
    [['backup', '-d', 'x=y', '-o', 'a.vma', '--progress', 'loud'], /Allowed choices are auto, bar, plain, json, none/],
    [['restore', 'a.vma'], /restore needs a folder, or targets of drives/],
    [['restore', 'a.vma', 'dir', '-d', 'x=y'], /and not both/],
    [['verify'], /missing required argument 'archive'/],
    [['stages', 'compresor'], /no stage 'compresor'; did you mean compressor\?/],
    [['run', 'none.yaml'], /cannot read the pipeline config: no such file.*none\.yaml/],
  ]
  await Promise.all(
    cases.map(async ([args, expected]) => {
      const outcome = await vmapipe(args, { cwd: dir })
      assert.equal(outcome.code, 2, args.join(' '))
      assert.match(oneLine(outcome), expected)
    }),
  )
})

test('what fails in the world is exit code 1', limits, async (t) => {
  const dir = tmpDir(t)
  const missing = join(dir, 'none')
  for (const args of [
    ['backup', '-d', `x=${missing}`, '-o', join(dir, 'a.vma')],
    ['restore', missing, join(dir, 'out')],
    ['verify', missing],
    ['list', missing],
  ]) {
    const outcome = await vmapipe(args)
    assert.equal(outcome.code, 1)
    assert.match(oneLine(outcome), /^vmapipe: no such file or directory/)
  }
})

test('--verbose shows where an error comes from, and stays free of control characters', limits, async () => {
  const { stderr } = await vmapipe(['verify', '-v', 'none\x1b[2J'])
  assert.match(stderr, /^vmapipe: source: .*\n(.*\n)*.*at .*\.ts:\d+/)
  assert.match(stderr, /caused by: /)
  assert.doesNotMatch(stderr, /[^\P{Cc}\n]/u)
})

test('stages shows every stage, and a stage its options', limits, async () => {
  const all = (await vmapipe(['stages'])).stdout.toString()
  for (const name of [
    'cluster-source',
    'zero-elider',
    'vma-framer',
    'compressor',
    'sink',
    'decompressor',
    'cluster-writer',
  ])
    assert.match(all, new RegExp(`^${name} +\\w+ → \\w+ +\\w`, 'm'))
  const one = (await vmapipe(['stages', 'compressor'])).stdout.toString()
  assert.match(one, /^compressor {2}bytes → bytes$/m)
  assert.match(one, /^ {2}method +zstd \| lz4 \| gzip \| none +default zstd +\w/m)
  const tee = (await vmapipe(['stages', 'tee'])).stdout.toString()
  assert.match(tee, /branches +list of map with name, required, stages +required/)
  const rate = (await vmapipe(['stages', 'rate-limit'])).stdout.toString()
  assert.match(rate, /^ {2}rate +size.* +required +\w/m)
})

test('schema prints JSON Schemas of a config and of the progress lines', limits, async () => {
  const [config, progress] = await Promise.all([vmapipe(['schema']), vmapipe(['schema', 'progress'])])
  assert.ok(JSON.parse(config.stdout.toString()).properties.stages, 'a config has stages')
  assert.equal(JSON.parse(progress.stdout.toString()).oneOf.length, 5)
})

test('the version is that of the package', limits, async () => {
  const { stdout } = await vmapipe(['--version'])
  assert.match(stdout.toString(), /^\d+\.\d+\.\d+\n$/)
})
