import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { MiB, makeDisk } from '../live/images.ts'
import { until } from '../storage/archive/processes.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from './cli.ts'

const limits = { timeout: 180_000 }

/** A receiver of datagrams, as a service manager is. Gives all lines that have come. */
async function receiver(t: TestContext, address: string): Promise<() => string[]> {
  const script = `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1].replace("@","\\0",1)); print("bound",flush=True)
while True: print(s.recv(4096).decode(),flush=True)`
  const python = spawn('/usr/bin/python3', ['-c', script, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => python.kill('SIGKILL'))
  let text = ''
  python.stdout.on('data', (data) => {
    text += data
  })
  await until(() => text.includes('bound'), 'the receiver is there')
  return () => text.split('\n').slice(1).filter(Boolean)
}

function serving(t: TestContext, args: string[], env: Record<string, string> = {}): ChildProcess {
  const child = startCli(['serve', ...args], { env })
  child.stderr.resume()
  t.after(() => child.kill('SIGKILL'))
  return child
}

for (const kind of ['a path', 'an abstract address']) {
  test(`a service manager at ${kind} is told that the server is ready, alive, and stops`, limits, async (t) => {
    const dir = tmpDir(t)
    makeDisk(join(dir, 'disk'), MiB)
    const address = kind === 'a path' ? join(dir, 'notify') : `@vmapipe-test-${process.pid}`
    const told = await receiver(t, address)
    const socket = join(dir, 'nbd')
    const args = ['-d', `a=${join(dir, 'disk')}`, '--socket', socket]
    const child = serving(t, args, { NOTIFY_SOCKET: address, WATCHDOG_USEC: '400000' })
    await until(() => told().includes('READY=1'), 'READY')
    assert.ok(existsSync(socket), 'guests can connect by then')
    assert.ok(told().includes('STATUS=serving 1 drive of 1.0 MiB'), told().join())
    await until(() => told().filter((line) => line === 'WATCHDOG=1').length >= 3, 'signs of life')
    child.kill('SIGTERM')
    await once(child, 'exit')
    await until(() => told().includes('STOPPING=1'), 'STOPPING')
  })
}

test('a server that hangs gives no sign of life', limits, async (t) => {
  const dir = tmpDir(t)
  makeDisk(join(dir, 'disk'), MiB)
  const told = await receiver(t, join(dir, 'notify'))
  const env = { NOTIFY_SOCKET: join(dir, 'notify'), WATCHDOG_USEC: '200000' }
  const child = serving(t, ['-d', `a=${join(dir, 'disk')}`, '--socket', join(dir, 'nbd')], env)
  const signs = () => told().filter((line) => line === 'WATCHDOG=1').length
  await until(() => signs() > 0, 'signs of life')
  child.kill('SIGSTOP')
  // What it has sent before may still be on its way.
  await new Promise((resolve) => setTimeout(resolve, 300))
  const before = signs()
  await new Promise((resolve) => setTimeout(resolve, 800))
  assert.equal(signs(), before)
})

test('nobody there, or an address that makes no sense, is no reason not to serve', limits, async (t) => {
  const dir = tmpDir(t)
  makeDisk(join(dir, 'disk'), MiB)
  for (const NOTIFY_SOCKET of [join(dir, 'nobody'), 'relative', `/${'x'.repeat(200)}`]) {
    const socket = join(dir, `nbd${NOTIFY_SOCKET.length}`)
    const child = serving(t, ['-d', `a=${join(dir, 'disk')}`, '--socket', socket], { NOTIFY_SOCKET })
    await until(() => existsSync(socket), 'guests can connect')
    child.kill('SIGTERM')
    assert.equal((await once(child, 'exit'))[0], 0)
  }
})

test('sockets that systemd has opened are for guests, and the one named control for control', {
  ...limits,
  ...needs('systemd-socket-activate'),
}, async (t) => {
  const dir = tmpDir(t)
  makeDisk(join(dir, 'disk'), MiB)
  const [nbd, ctl] = [join(dir, 'nbd'), join(dir, 'ctl')]
  const program = [process.execPath, LAUNCHER, 'serve', '-d', `a=${join(dir, 'disk')}`]
  const args = ['-l', nbd, '-l', ctl, '--fdname=guests:control', ...program]
  const child = spawn('systemd-socket-activate', args, { stdio: ['ignore', 'ignore', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await until(() => existsSync(nbd) && existsSync(ctl), 'the sockets are there, without a server')
  const guest = await NbdClient.connect({ socketPath: nbd, exportName: 'a' })
  await guest.write([Buffer.alloc(4096, 7)], 0)
  const back = Buffer.alloc(4096)
  await guest.read(back, 0)
  assert.deepEqual(back, Buffer.alloc(4096, 7))
  const archive = join(dir, 'vm.vma.zst')
  const { code, stderr } = await vmapipe(['backup', '--attach', ctl, '-o', archive])
  assert.equal(code, 0, stderr)
  await guest.close()
  child.kill('SIGTERM')
  assert.equal((await once(child, 'exit'))[0], 0)
  assert.ok(existsSync(nbd), 'the socket belongs to systemd')
})

test('the launcher hands sockets on to a newer Node', limits, async (t) => {
  const dir = tmpDir(t)
  makeDisk(join(dir, 'disk'), MiB)
  const path = join(dir, 'nbd')
  // As systemd does: descriptor 3, LISTEN_PID of the program itself; then a program between, as the launcher is.
  const script = `import os,socket,sys
s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); os.dup2(s.fileno(),3,inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS="1")
import subprocess
child=subprocess.Popen(sys.argv[2:],pass_fds=(3,))
sys.exit(child.wait())`
  const program = [process.execPath, LAUNCHER, 'serve', '-d', `a=${join(dir, 'disk')}`]
  const child = spawn('/usr/bin/python3', ['-c', script, path, ...program], {
    stdio: ['ignore', 'ignore', 'ignore'],
    detached: true,
  })
  t.after(() => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {}
  })
  await until(() => existsSync(path), 'the socket is there')
  const guest = await NbdClient.connect({ socketPath: path, exportName: 'a' })
  assert.equal(guest.size, MiB)
  await guest.close()
})

test('mode and group of the socket are as they were asked for', limits, async (t) => {
  const dir = tmpDir(t)
  makeDisk(join(dir, 'disk'), MiB)
  const isRoot = process.getuid!() === 0
  const group = isRoot ? 'nogroup' : String(process.getgid!())
  const cases: [string[], number][] = [
    [[], 0o600],
    [['--socket-mode', '0660'], 0o660],
    [['--socket-group', group], 0o660],
    [['--socket-group', group, '--socket-mode', '600'], 0o600],
  ]
  for (const [flags, mode] of cases) {
    const socket = join(dir, `nbd${mode}${flags.length}`)
    const child = serving(t, [
      '-d',
      `a=${join(dir, 'disk')}`,
      '--socket',
      socket,
      '--control',
      join(dir, 'ctl'),
      ...flags,
    ])
    await until(() => existsSync(socket), 'guests can connect')
    const stats = statSync(socket)
    assert.equal(stats.mode & 0o777, mode)
    if (flags.includes('--socket-group')) assert.equal(stats.gid, isRoot ? 65534 : process.getgid!())
    assert.equal(statSync(join(dir, 'ctl')).mode & 0o777, 0o600, 'the control socket stays its owner’s')
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
})

test('what makes no sense is refused in one line', limits, async (t) => {
  const dir = tmpDir(t)
  const disk = ['-d', 'a=x']
  const cases: [string[], RegExp][] = [
    [['--socket', join(dir, 's'), '--socket-mode', '0066'], /write it as 0660/],
    [['--socket', join(dir, 's'), '--socket-mode', '999'], /write it as 0660/],
    [['--socket', join(dir, 's'), '--socket-group', 'no-such-group'], /there is no group 'no-such-group'/],
    [['--listen', '127.0.0.1:0', '--socket-mode', '660'], /there is no socket that could have this mode/],
  ]
  for (const [flags, line] of cases) {
    const outcome = await vmapipe(['serve', ...disk, ...flags])
    assert.match(oneLine(outcome), line)
    assert.equal(outcome.code, 2)
  }
})
