import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { LAUNCHER, vmapipe } from './cli.ts'

describe('a standard stream that is closed', { timeout: 180_000 }, () => {
  const dir = tmpDir({ after })
  /** In a shell, which can close them. */
  const shell = (line: string) =>
    spawnSync('/bin/sh', ['-c', line], {
      cwd: dir,
      encoding: 'utf8',
      env: { ...process.env, VMAPIPE: `${process.execPath} ${LAUNCHER}` },
    })

  before(async () => {
    writeImage(join(dir, 'disk.raw'), 1 << 20, { noise: 1 << 20 })
    writeImage(join(dir, 'vm.conf'), 100, { noise: 100 })
    const args = ['backup', '-q', '-d', 'd=disk.raw', '-c', 'vm.conf', '-o', 'a.vma']
    assert.equal((await vmapipe(args, { cwd: dir })).code, 0)
  })

  for (const command of [
    'backup -q -d d=disk.raw -o -',
    'cat -q a.vma d',
    'repack -q a.vma -o -',
    'list a.vma',
    'config a.vma',
    'partitions a.vma d',
    'stages',
  ]) {
    test(`is one clear line and exit code 1 to the result of: ${command}`, () => {
      const { status, stderr } = shell(`$VMAPIPE ${command} >&-`)
      assert.equal(status, 1)
      assert.match(stderr, /^vmapipe: [^\n]*standard output is closed[^\n]*\n$/m)
      assert.equal(shell(`$VMAPIPE ${command} >/dev/null`).status, 0)
    })
  }

  test('is one clear line to who reads from it', () => {
    const { status, stderr } = shell('$VMAPIPE verify -q - <&-')
    assert.equal(status, 1)
    assert.match(stderr, /^vmapipe: [^\n]*standard input is closed[^\n]*\n$/)
  })

  test('never gets its number for a file: all of them closed, the archive is as ever', () => {
    assert.equal(shell('$VMAPIPE backup -q -d d=disk.raw -o b.vma <&- >&- 2>&-').status, 0)
    assert.equal(shell('$VMAPIPE verify b.vma <&- >&- 2>&-').status, 0)
    assert.equal(shell('$VMAPIPE verify a.vma-none <&- >&- 2>&-').status, 1)
  })
})
