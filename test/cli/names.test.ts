import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { LAUNCHER } from './cli.ts'

const timeout = 120_000

/** A shell command in a folder, whose `$VMAPIPE` is the command line; Node itself cannot pass on what is not UTF-8. */
function shell(cwd: string, command: string) {
  const env = { ...process.env, VMAPIPE: `${process.execPath} ${LAUNCHER}`, NO_COLOR: '1', LC_ALL: 'C' }
  const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], { cwd, env, encoding: 'latin1' })
  return { status, stdout, stderr }
}

const E_ACUTE = '"$(printf "\\351")"'

test('an argument that is not UTF-8 is refused, and no file of another name is made', { timeout }, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  for (const args of ['backup -d d=disk.raw -o', 'backup -o x.vma -d d=', 'list', 'restore x.vma']) {
    const { status, stderr } = shell(dir, `$VMAPIPE ${args}${args.endsWith('=') ? '' : ' '}${E_ACUTE}`)
    assert.equal(status, 2)
    assert.match(stderr, /^vmapipe: the argument '[^\n]*' is not UTF-8, [^\n]*\n$/)
  }
  assert.deepEqual(readdirSync(dir), ['disk.raw'])
})

test('a character that Node puts in its place is a name as any other', { timeout }, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  const { status, stderr } = shell(
    dir,
    '$VMAPIPE backup -q -d d=disk.raw -o \u{fffd}.vma'.replace('\\u{fffd}', '\ufffd'),
  )
  assert.equal(status, 0, stderr)
  assert.deepEqual(readdirSync(dir).sort(), ['disk.raw', '\ufffd.vma'])
})

test('a folder for temporary files that is not UTF-8 is refused', { timeout }, (t) => {
  const dir = tmpDir(t)
  const { status, stderr } = shell(dir, `TMPDIR=${E_ACUTE} $VMAPIPE list x.vma`)
  assert.equal(status, 2)
  assert.match(stderr, /TMPDIR, is not UTF-8/)
})

test('a parameter out of the environment that is not UTF-8 is refused', { timeout }, (t) => {
  const dir = tmpDir(t)
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the config's
  writeFileSync(join(dir, 'c.yaml'), 'stages:\n  - source: { from: "${FROM}" }\n  - sink: { to: out }\n')
  const { status, stderr } = shell(dir, `FROM=${E_ACUTE} $VMAPIPE run c.yaml`)
  assert.equal(status, 2)
  assert.match(stderr, /the environment's FROM is not UTF-8/)
})

test('what is named from within a folder that is not UTF-8 is there', { timeout }, (t) => {
  const dir = tmpDir(t)
  const odd = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0x77, 0xe9])])
  mkdirSync(odd)
  writeFileSync(Buffer.concat([odd, Buffer.from('/disk.raw')]), Buffer.alloc(65_536, 1))
  const commands = ['$VMAPIPE backup -q -d d=disk.raw -o x.vma', '$VMAPIPE restore -q x.vma new/out']
  const { status, stderr } = shell(dir, `cd w${E_ACUTE} && ${commands.join(' && ')} && cmp disk.raw new/out/disk-d.raw`)
  assert.equal(status, 0, stderr)
  assert.equal(readdirSync(dir, { encoding: 'buffer' }).length, 1)
  assert.deepEqual(readdirSync(odd).sort(), ['disk.raw', 'new', 'x.vma'])
})

test('a link into a folder that is not UTF-8 is refused as a target that is to be replaced', { timeout }, (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(65_536, 1))
  const { status, stdout, stderr } = shell(
    dir,
    `d=${E_ACUTE}; mkdir "$d" && echo old >"$d/x" && ln -s "$d/x" link && $VMAPIPE backup -f -q -d d=disk.raw -o link; echo $?; cat "$d/x"`,
  )
  assert.equal(stdout, '2\nold\n', stderr)
  assert.equal(status, 0)
})
