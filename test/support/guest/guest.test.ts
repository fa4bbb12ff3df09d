import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { nbdkit } from '../nbd-server.ts'
import { tmpDir } from '../tmp.ts'
import { needs } from '../tools.ts'
import { makeGuestDisk } from './disk.ts'
import { startGuest } from './guest.ts'
import { needsGuest } from './machine.ts'

const timeout = 60_000

describe('the test guest', needsGuest(), () => {
  test('tells of a disk that fails, and ends', { timeout, ...needs('nbdkit') }, async (t) => {
    const dir = tmpDir(t)
    const [image, socket, bad] = ['image', 'socket', 'bad'].map((name) => join(dir, name))
    makeGuestDisk(image, 'bad')
    await nbdkit(t, socket, ['--filter=error', 'file', image, 'error-pwrite-rate=100%', `error-file=${bad}`])
    const guest = await startGuest(t, { role: 'writer', disks: [{ socket, name: '' }] })
    await guest.waitFor('ACK 10')
    assert.deepEqual(guest.console.diskErrors, [])
    writeFileSync(bad, '')
    await assert.rejects(guest.waitFor('ACK 100000'), /FAIL (slot|log) of record \d+ on vda/)
    await guest.poweredOff()
    assert.match(guest.console.diskErrors.join('\n'), /I\/O error/)
  })

  test('is there for as long as it is wanted', { timeout }, async (t) => {
    const guest = await startGuest(t, { role: 'idle' })
    await guest.waitFor('READY')
    await assert.rejects(guest.waitFor('ACK 1', 50), /did not say ACK 1: 50 ms are over/)
    await guest.stop()
    await assert.rejects(guest.waitFor('ACK 1'), /it ended/)
  })
})
