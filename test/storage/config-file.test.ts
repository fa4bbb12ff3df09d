import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readConfigFile } from '../../src/storage/config-file.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 10_000

test('a config file is read whole up to its largest size, and not beyond', { timeout }, async (t) => {
  const path = join(tmpDir(t), 'x.conf')
  for (const size of [0, 1, 1000]) {
    writeFileSync(path, Buffer.alloc(size, 'x'))
    assert.deepEqual(await readConfigFile(path, 1000), Buffer.alloc(size, 'x'))
  }
  writeFileSync(path, Buffer.alloc(1001))
  await assert.rejects(readConfigFile(path, 1000), { code: 'USAGE', message: /more than the 1000 bytes/ })
  // Such files say that they are empty.
  assert.match((await readConfigFile('/proc/self/status', 65535)).toString(), /^Name:/)
})

test('what is no file is refused without waiting for it', { timeout }, async (t) => {
  const fifo = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  for (const path of [fifo, '/dev/zero', '/']) {
    await assert.rejects(readConfigFile(path, 1000), { code: 'USAGE', message: /neither a file/ })
  }
  await assert.rejects(readConfigFile(`${fifo}x`, 1000), { message: /no such file/ })
})
