import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { MiB, makeDisk } from '../live/images.ts'
import { serve } from '../live/serving.ts'
import { nbdkit } from '../support/nbd-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }

describe('serve refuses to start', () => {
  test('where nothing can be served, in one line', limits, async (t) => {
    const dir = tmpDir(t)
    const path = (name: string) => join(dir, name)
    makeDisk(path('disk'), MiB)
    writeFileSync(path('file'), 'no socket')
    const to = ['--socket', path('nbd')]
    const disk = ['-d', `a=${path('disk')}`]
    const cases: [string[], number, RegExp][] = [
      [disk, 2, /nothing says where guests connect; give --socket PATH, --listen HOST:PORT, or both/],
      [to, 2, /required option '-d, --drive <name=source>' not specified/],
      [['-d', 'a', ...to], 2, /write it as drive-scsi0=disk\.raw/],
      [['-d', '../a=x', ...to], 2, /drive name '\.\.\/a' has a slash/],
      [['-d', `a=${path('missing')}`, ...to], 1, /no such file or directory.*missing.*drive a/],
      [['-d', `a=${dir}`, ...to], 1, /is a directory.*drive a/],
      [[...disk, '-d', `b=${path('disk')}`, ...to], 2, /the drives a and b are one and the same disk/],
      [[...disk, '--socket', path('file')], 2, /exists and is not a socket/],
      [[...disk, '--socket', path('no/such/folder')], 1, /no such file or directory/],
      [[...disk, '--socket', path('x'.repeat(120))], 2, /the path is too long for a unix socket/],
      [[...disk, '--listen', '10809'], 2, /write it as 127\.0\.0\.1:10809/],
      [[...disk, '--listen', '192.0.2.1:0'], 1, /192\.0\.2\.1:0/],
      [[...disk, ...to, '--ready-fd', '77'], 2, /--ready-fd 77: no such descriptor is open/],
      [[...disk, ...to, '--max-stall', 'never'], 2, /write it as 10s/],
      [[...disk, ...to, '--buffer', '1'], 2, /at least 16\.0 MiB/],
    ]
    for (const [args, code, line] of cases) {
      const outcome = await vmapipe(['serve', '--control', path('ctl'), ...args])
      assert.match(oneLine(outcome), line)
      assert.equal(outcome.code, code, outcome.stderr)
      assert.ok(!existsSync(path('ctl')) && !existsSync(path('nbd')), `${args} leaves no socket behind`)
    }
  })

  test('where somebody serves already, and takes over from one that was killed', limits, async (t) => {
    const dir = tmpDir(t)
    const [disk, other] = [join(dir, 'disk'), join(dir, 'other')]
    makeDisk(disk, MiB)
    makeDisk(other, MiB)
    const serving = await serve(t, { a: disk }, [], dir)
    const control = ['--control', join(dir, 'ctl2')]
    const same = await vmapipe(['serve', '-d', `a=${disk}`, '--socket', join(dir, 'nbd2'), ...control])
    assert.deepEqual([same.code, /the image is in use by process/.test(oneLine(same))], [1, true])
    for (const taken of [
      ['--socket', serving.socket, ...control],
      ['--socket', join(dir, 'nbd2'), '--control', serving.control],
    ]) {
      const outcome = await vmapipe(['serve', '-d', `a=${other}`, ...taken])
      assert.equal(outcome.code, 1)
      assert.match(oneLine(outcome), /another server listens on this socket already/)
    }
    assert.equal((await serving.status()).drives[0].name, 'a', 'the first one goes on')
    await serving.kill()
    const next = await serve(t, { a: disk }, [], dir)
    assert.equal(await next.stop(), 0)
    assert.ok(!existsSync(next.socket) && !existsSync(next.control))
  })

  test('on what cannot be written to', { ...limits, ...needs('nbdkit') }, async (t) => {
    const dir = tmpDir(t)
    const uri = await nbdkit(t, join(dir, 'below'), ['--readonly', 'memory', 'size=1M'])
    const outcome = await vmapipe(['serve', '-d', `a=${uri}`, '--socket', join(dir, 'nbd')])
    assert.equal(outcome.code, 2)
    assert.match(oneLine(outcome), /this NBD export is read-only .*drive a/)
  })
})

describe('serve', () => {
  test('makes sockets that nobody else can use, and says when it is ready', limits, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk')
    makeDisk(disk, MiB)
    chmodSync(dir, 0o777)
    const serving = await serve(t, { a: disk })
    for (const socket of [serving.socket, serving.control]) assert.equal(statSync(socket).mode & 0o777, 0o600)
    assert.match(serving.log, /^drive a: 1\.0 MiB\nready: guests at .*nbd, control at .*ctl\n$/)
  })

  test('serves on after whoever waited for its readiness has gone', limits, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk')
    makeDisk(disk, MiB)
    const socket = join(dir, 'nbd')
    const args = [LAUNCHER, 'serve', '-d', `a=${disk}`, '--socket', socket, '--ready-fd', '3']
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] })
    t.after(() => child.kill('SIGKILL'))
    child.stdio[3]!.destroy()
    await answers(socket)
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual(await exit, [0, null])
  })

  test('listens on TCP too where it is told to', limits, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, MiB)
    const serving = await serve(t, { a: disk }, ['--listen', '127.0.0.1:0'])
    const [, port] = /and 127\.0\.0\.1:(\d+)/.exec(serving.log)!
    const guest = await NbdClient.connect({ host: '127.0.0.1', port: Number(port), exportName: 'a' })
    assert.equal(guest.size, MiB)
    await guest.close()
  })

  test('answers what it was asked before SIGTERM, makes it durable and then ends', limits, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    writeFileSync(disk, '')
    truncateSync(disk, 64 * MiB)
    const serving = await serve(t, { a: disk })
    const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' }, { depth: 64 })
    const writes = Array.from({ length: 64 }, (_, n) => guest.write([Buffer.alloc(MiB, n + 1)], n * MiB))
    const outcomes = Promise.allSettled(writes)
    await writes[0]
    assert.equal(await serving.stop(), 0)
    assert.match(serving.log, /stopping\nstopped: everything is durable\n$/)
    const held = readFileSync(disk)
    for (const [n, { status }] of (await outcomes).entries()) {
      const piece = held.subarray(n * MiB, (n + 1) * MiB)
      if (status === 'fulfilled') assert.ok(piece.equals(Buffer.alloc(MiB, n + 1)), `write ${n} was acknowledged`)
    }
    await guest.close()
  })

  test('ends at once on a signal that comes while it starts', limits, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk')
    makeDisk(disk, MiB)
    for (let delay = 100; delay < 700; delay += 120) {
      const child = startCli(['serve', '-d', `a=${disk}`, '--socket', join(dir, 'nbd')])
      await sleep(delay)
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      const [code, signal] = await exit
      // Before it hears signals it is ended by them; afterwards it ends in good order.
      assert.ok(code === 0 || signal === 'SIGTERM', `it ended with ${code ?? signal} after ${delay} ms`)
      assert.ok(!existsSync(join(dir, 'nbd')))
    }
  })

  test('serves a drive through a link, whose image others cannot open meanwhile', limits, async (t) => {
    const dir = tmpDir(t)
    const [disk, link] = [join(dir, 'disk'), join(dir, 'link')]
    makeDisk(disk, MiB)
    symlinkSync(disk, link)
    const serving = await serve(t, { a: link })
    const other = await vmapipe(['serve', '-d', `a=${disk}`, '--socket', join(dir, 'nbd2')])
    assert.match(oneLine(other), /the image is in use by process/)
    assert.equal(other.code, 1)
    assert.equal(await serving.stop(), 0)
  })
})

async function answers(socket: string): Promise<void> {
  for (;;) {
    const there = await new Promise<boolean>((resolve) => {
      const connection = connect(socket, () => resolve(true)).on('error', () => resolve(false))
      connection.once('connect', () => connection.destroy())
    })
    if (there) return
    await sleep(20)
  }
}
