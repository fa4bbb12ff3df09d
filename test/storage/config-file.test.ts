import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readdirSync, readlinkSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readConfigFile } from '../../src/storage/config-file.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 60_000

/** How often this process has it open. */
function timesOpen(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
    } catch {
      // That of the folder itself, or it was closed meanwhile.
      return false
    }
  }).length
}

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

test('a config file may come out of a pipe, and is as limited there', { timeout }, async (t) => {
  const fifo = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  const read = async (bytes: number) => {
    const writer = openSync(fifo, constants.O_RDWR)
    writeSync(writer, Buffer.alloc(bytes))
    let isOver = false
    const reading = readConfigFile(fifo, 1000).finally(() => {
      isOver = true
    })
    reading.catch(() => {})
    // The pipe has a writer until it has been opened for reading.
    while (!isOver && timesOpen(fifo) < 2) await sleep(5)
    closeSync(writer)
    return reading
  }
  assert.deepEqual(await read(1000), Buffer.alloc(1000))
  await assert.rejects(read(1001), { code: 'USAGE', message: /more than the 1000 bytes/ })
})

test('a pipe that nobody writes to, and what is neither file nor pipe, is refused without waiting', {
  timeout,
}, async (t) => {
  const fifo = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  await assert.rejects(readConfigFile(fifo, 1000), { code: 'USAGE', message: /nothing came out of this pipe/ })
  for (const path of ['/dev/zero', '/']) {
    await assert.rejects(readConfigFile(path, 1000), { code: 'USAGE', message: /neither a file/ })
  }
  await assert.rejects(readConfigFile(`${fifo}x`, 1000), { message: /no such file/ })
})
