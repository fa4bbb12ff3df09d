import assert from 'node:assert/strict'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { holdExport } from '../../../src/storage/guard/export-in-use.ts'
import { openDriveReader, openDriveWriter } from '../../../src/storage/open.ts'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { oneLine, startCli, vmapipe } from '../../cli/cli.ts'
import { isListening, nbdkit } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const limits = { timeout: 60_000, skip: process.platform !== 'linux' && 'Linux only' }
const IN_USE = { code: 'FAILED', message: 'the NBD export is in use by this very process' }

test('an NBD export that is written to is not read or written otherwise, by any name of its socket', {
  ...limits,
  ...needs('nbdkit'),
}, async (t) => {
  const dir = tmpDir(t)
  const uri = await nbdkit(t, join(dir, 's'), ['memory', '1M'])
  symlinkSync('s', join(dir, 'link'))
  for (const name of ['s', 'link']) {
    const other = `nbd+unix:///?socket=${join(dir, name)}`
    const disk = await openDisk(uri)
    await assert.rejects(openDisk(other), IN_USE)
    await assert.rejects(openDriveWriter(other, { size: 4096 }), IN_USE)
    await assert.rejects(openDriveReader(other), IN_USE)
    await (await openDriveReader(other, { forceShare: true })).close()
    await disk.close()
    const writer = await openDriveWriter(other, { size: 4096 })
    await assert.rejects(openDisk(uri), IN_USE)
    await writer.close()
  }
  const readers = [await openDriveReader(uri), await openDriveReader(uri), await openDisk(uri, { readOnly: true })]
  for (const reader of readers) await reader.close()
})

test('two services of one NBD export are one too many, until the first is killed', {
  ...limits,
  ...needs('nbdkit'),
}, async (t) => {
  const dir = tmpDir(t)
  const uri = await nbdkit(t, join(dir, 's'), ['memory', '1M'])
  const first = startCli(['serve', '-d', `a=${uri}`, '--socket', join(dir, 'one')])
  t.after(() => first.kill('SIGKILL'))
  while (!(await isListening(join(dir, 'one')))) await sleep(20)
  const second = await vmapipe(['serve', '-d', `b=${uri}`, '--socket', join(dir, 'two')])
  assert.equal(second.code, 1)
  assert.match(oneLine(second), /the NBD export is in use by process \d+ \(vmapipe serve\)/)
  first.kill('SIGKILL')
  await once(first, 'close')
  await (await openDisk(uri)).close()
})

test('an export that does not open is in use no longer', limits, async (t) => {
  const dir = tmpDir(t)
  const address = { exportName: '', socketPath: join(dir, 's') }
  const server = createServer((socket) => socket.destroy()).listen(address.socketPath)
  t.after(() => server.close())
  await assert.rejects(openDriveWriter(`nbd+unix:///?socket=${address.socketPath}`, { size: 4096 }))
  const release = await holdExport(address)
  release()
})
