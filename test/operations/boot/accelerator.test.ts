import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { AcceleratorError, withAccelerator } from '../../../src/operations/boot/accelerator.ts'
import { AGENT_FD, MONITOR_FD } from '../../../src/operations/boot/arguments.ts'
import { Scratch } from '../../../src/operations/boot/scratch.ts'
import { tryBoot } from '../../../src/operations/boot/try-boot.ts'
import { tmpDir } from '../../support/tmp.ts'

const timeout = 120_000

/** A QEMU that says what a real one does if KVM stops its guest: `states` are its answers to query-status, one after the other. */
function stoppedQemu(dir: string, states: readonly string[]): string {
  const file = join(dir, 'qemu')
  const code = `#!${process.execPath}
    const { Socket } = require('node:net')
    const monitor = new Socket({ fd: ${MONITOR_FD} })
    new Socket({ fd: ${AGENT_FD} }).resume()
    const states = ${JSON.stringify(states)}
    const send = (value) => monitor.write(JSON.stringify(value) + '\\r\\n')
    send({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 } }, capabilities: [] } })
    let rest = ''
    monitor.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\\n')
      rest = lines.pop()
      for (const line of lines) {
        const { execute, id } = JSON.parse(line)
        const isQuestion = execute === 'query-status'
        const status = states.length > 1 && isQuestion ? states.shift() : states[0]
        send({ return: isQuestion ? { status, running: status === 'running' } : {}, id })
        if (isQuestion && states[0] !== status)
          setTimeout(() => send({ event: 'STOP', timestamp: { seconds: 0, microseconds: 0 } }), 100)
      }
    })
    setTimeout(() => {}, 60_000)
    monitor.on('close', () => process.exit())
  `
  writeFileSync(file, code, { mode: 0o755 })
  return file
}

async function tried(t: TestContext, states: readonly string[], limit = 60_000) {
  const dir = tmpDir(t)
  const scratch = await Scratch.make(dir, null)
  t.after(() => scratch.remove())
  const trial = { args: [], user: null, pattern: undefined, still: undefined, scratch, scratchSize: 1 << 20 }
  const [program, screenFile] = [stoppedQemu(dir, states), await scratch.fileForQemu('screen')]
  return tryBoot({ ...trial, program, screenFile, limit, signal: undefined })
}

describe('a guest that KVM cannot run', { timeout }, () => {
  const stopped = { message: /^QEMU stopped the guest with an internal error of KVM/, hint: /--accel tcg/ }

  test('ends the try at once, and is not called a guest that does not boot', async (t) => {
    const trying = tried(t, ['internal-error'])
    await assert.rejects(trying, (error) => error instanceof AcceleratorError && stopped.message.test(error.message))
    await assert.rejects(tried(t, ['internal-error']), stopped)
  })

  test('also if it stops later', async (t) => {
    await assert.rejects(tried(t, ['running', 'internal-error']), stopped)
  })

  test('is another thing than a guest that its user or its disk has stopped', async (t) => {
    for (const state of ['paused', 'io-error']) {
      const { passed, detail } = await tried(t, ['running', state], 1500)
      assert.deepEqual([passed, detail.startsWith('the guest agent did not answer')], [false, true])
    }
  })

  test('is emulated, if that was left to us', async () => {
    const attempts: string[] = []
    const warnings: string[] = []
    const attempt = async (accel: string) => {
      attempts.push(accel)
      if (accel === 'kvm') throw new AcceleratorError('FAILED', 'it stopped')
      return accel
    }
    const note = (message: string) => warnings.push(message)
    assert.equal(await withAccelerator('auto', note, attempt, true), 'tcg')
    assert.deepEqual(attempts.splice(0), ['kvm', 'tcg'])
    assert.deepEqual(warnings.splice(0), [
      'KVM cannot be used here, so the guest is emulated, which is slow: it stopped',
    ])
    await assert.rejects(withAccelerator('kvm', note, attempt, true), /it stopped/)
    assert.equal(await withAccelerator('auto', note, attempt, false), 'tcg')
    assert.deepEqual([attempts, warnings], [['kvm', 'tcg'], []])
    const other = async () => Promise.reject(new VmapipeError('FAILED', 'the guest has written too much'))
    await assert.rejects(withAccelerator('auto', note, other, true), /too much/)
  })
})
