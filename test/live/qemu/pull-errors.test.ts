import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../../src/core/errors.ts'
import type { QemuConnection } from '../../../src/live/qemu/connection.ts'
import { explainPull } from '../../../src/live/qemu/pull-errors.ts'

/** Milliseconds after which the monitor's socket is seen to be closed too. */
const LATER_MS = 20

const ended = new VmapipeError('FAILED', 'QEMU ended during the backup')

/** The connection to a QEMU that is just ending. */
function dying(): QemuConnection {
  const gone = sleep(LATER_MS, ended)
  return { isShuttingDown: false, qmp: { watching: 'own' }, gone } as unknown as QemuConnection
}

function failed(code: string | undefined): VmapipeError {
  const cause = Object.assign(new Error('of the system'), { code })
  return new VmapipeError('FAILED', 'the point in time cannot be read', { cause })
}

describe('the point in time cannot be read while QEMU ends', () => {
  // Which of these is met depends on how far the connection had come when the process went.
  for (const code of ['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ESHUTDOWN', undefined])
    test(`the end of QEMU is told, and not ${code ?? 'an error without a code'}`, async () => {
      assert.equal(await explainPull(failed(code), dying()), ended)
    })

  for (const code of ['EIO', 'ENOSPC', 'EPERM', 'ENOMEM'])
    test(`${code}, which the drive gave, stays as it is`, async () => {
      const error = failed(code)
      assert.equal(await explainPull(error, dying()), error)
    })
})
