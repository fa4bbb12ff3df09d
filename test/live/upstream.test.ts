import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { lateness } from '../support/lateness.ts'
import { isListening } from '../support/nbd-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { type Serving, serve } from './serving.ts'

const timeout = 60_000
const MiB = 2 ** 20

/** nbdkit that can be killed and started again. */
class Upstream {
  readonly file: string
  readonly uri: string
  readonly #socket: string
  #child: ChildProcess | null = null

  constructor(t: TestContext, size = 2 * MiB) {
    const dir = tmpDir(t)
    this.file = join(dir, 'disk')
    this.#socket = join(dir, 'up')
    this.uri = `nbd+unix:///?socket=${this.#socket}`
    writeFileSync(this.file, Buffer.alloc(size, 1))
    t.after(() => this.kill())
  }

  async start(...flags: string[]): Promise<void> {
    rmSync(this.#socket, { force: true })
    this.#child = spawn('nbdkit', ['-f', ...flags, '-U', this.#socket, 'file', this.file], { stdio: 'ignore' })
    while (!(await isListening(this.#socket))) await sleep(5)
  }

  async kill(): Promise<void> {
    if (this.#child === null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
    this.#child = null
  }

  stop(): void {
    this.#child!.kill('SIGSTOP')
  }
}

async function guestOf(t: TestContext, serving: Serving): Promise<NbdClient> {
  const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
  t.after(() => guest.close())
  return guest
}

async function lost(serving: Serving): Promise<void> {
  while ((await serving.status()).drives[0].upstream!.connected) await sleep(10)
}

async function metrics(serving: Serving): Promise<string> {
  return (await (await serving.ask('GET', '/metrics')).toArray()).join('')
}

describe('a served disk whose server goes away', { ...needs('nbdkit') }, () => {
  test('its guest waits and sees no error; it is in the status, the metrics and the log', { timeout }, async (t) => {
    const upstream = new Upstream(t)
    await upstream.start()
    const serving = await serve(t, { a: upstream.uri })
    const guest = await guestOf(t, serving)
    await guest.write([Buffer.alloc(4096, 2)], 0)
    assert.match(await metrics(serving), /vmapipe_upstream_connected\{drive="a"\} 1/)
    await upstream.kill()
    await lost(serving)
    const into = Buffer.alloc(4096)
    const work = [guest.read(into, MiB), guest.write([Buffer.alloc(4096, 3)], 4096), guest.flush()]
    assert.match(await metrics(serving), /vmapipe_upstream_connected\{drive="a"\} 0/)
    await upstream.start()
    await Promise.all(work)
    assert.ok(into.every((byte) => byte === 1))
    const { upstream: status } = (await serving.status()).drives[0]
    assert.equal(status!.connected, true)
    assert.equal(status!.reconnects, 1)
    assert.match(await metrics(serving), /vmapipe_upstream_reconnects_total\{drive="a"\} 1/)
    assert.equal((await serving.status()).nbd.errors, 0)
    assert.equal(await serving.stop(), 0)
    assert.match(serving.log, /drive a: its server is away, requests wait for it/)
    assert.match(serving.log, /drive a: its server is back after/)
    const bytes = readFileSync(upstream.file)
    assert.deepEqual([bytes[0], bytes[4096], bytes[8192]], [2, 3, 1])
  })

  test('a backup is given up, the guest is not', { timeout }, async (t) => {
    // More than is read ahead.
    const upstream = new Upstream(t, 48 * MiB)
    await upstream.start()
    const serving = await serve(t, { a: upstream.uri }, ['--max-stall', '300ms'])
    const guest = await guestOf(t, serving)
    const response = await serving.ask('GET', '/backup?bwlimit=2MiB/s')
    response.on('error', () => {}).resume()
    await sleep(100)
    await upstream.kill()
    const write = guest.write([Buffer.alloc(4096, 2)], 40 * MiB)
    const { complete, error } = await serving.ended()
    assert.equal(complete, false)
    assert.match(error!, /away|waited/)
    await upstream.start()
    await write
    await guest.flush()
    assert.equal(readFileSync(upstream.file)[40 * MiB], 2)
    assert.equal(await serving.stop(), 0)
  })

  test('the service ends with an error if it comes back with another size', { timeout }, async (t) => {
    const upstream = new Upstream(t)
    await upstream.start()
    const serving = await serve(t, { a: upstream.uri })
    await upstream.kill()
    await lost(serving)
    truncateSync(upstream.file, MiB)
    const ended = once(serving.child, 'exit')
    await upstream.start()
    const [code] = await ended
    assert.equal(code, 1)
    assert.match(serving.log, /came back with 1048576 bytes instead of 2097152 \(drive a\)/)
  })

  test('the service ends soon on SIGTERM, and says what may be lost', { timeout }, async (t) => {
    for (const flushed of [true, false]) {
      const upstream = new Upstream(t)
      await upstream.start()
      const serving = await serve(t, { a: upstream.uri })
      const guest = await guestOf(t, serving)
      await guest.write([Buffer.alloc(4096, 2)], 0)
      if (flushed) await guest.flush()
      await upstream.kill()
      await lost(serving)
      const read = guest.read(Buffer.alloc(4096), 0)
      read.catch(() => {})
      await sleep(20)
      const late = lateness()
      const begun = performance.now()
      const code = await serving.stop()
      assert.ok(performance.now() - begun < 2500 + late())
      // It is hung up on, and told nothing that its disk had not said.
      await assert.rejects(read, /closed the connection/)
      if (flushed) assert.equal(code, 0)
      else assert.notEqual(code, 0)
      assert.equal(/may be lost/.test(serving.log), !flushed)
    }
  })

  test('a server that hangs holds the end up no longer than others', { timeout }, async (t) => {
    const upstream = new Upstream(t)
    await upstream.start()
    const serving = await serve(t, { a: upstream.uri })
    const guest = await guestOf(t, serving)
    upstream.stop()
    guest.read(Buffer.alloc(4096), 0).catch(() => {})
    await sleep(50)
    const late = lateness()
    const begun = performance.now()
    assert.notEqual(await serving.stop(), 0)
    assert.ok(performance.now() - begun < 4000 + late())
  })
})

/** Children of a process that are qemu-nbd. */
function qemuNbds(pid: number): number[] {
  return readdirSync('/proc').flatMap((name) => {
    try {
      const [, command, , parent] = /^\d+ \((.*)\) (\S) (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'latin1'))!
      return command === 'qemu-nbd' && Number(parent) === pid ? [Number(name)] : []
    } catch {
      return []
    }
  })
}

// QEMU opens one that was not closed well as it is, and the other one not before it is repaired.
for (const format of ['qcow2', 'parallels'])
  test(`a ${format} image whose qemu-nbd is killed loses nothing that its guest wrote`, {
    timeout,
    ...needs('qemu-nbd', 'qemu-img'),
  }, async (t) => {
    const image = join(tmpDir(t), `disk.${format}`)
    execFileSync('qemu-img', ['create', '-q', '-f', format, image, '16M'])
    const serving = await serve(t, { a: `${format}:${image}` })
    const guest = await guestOf(t, serving)
    for (let round = 1; round <= 2; round++) {
      // Written, not flushed: in qemu-nbd's cache of tables.
      for (let at = 0; at < 16; at++) await guest.write([Buffer.alloc(65536, round + at)], at * MiB)
      const [pid, ...others] = qemuNbds(serving.child.pid!)
      assert.equal(others.length, 0)
      process.kill(pid, 'SIGKILL')
      for (let at = 0; at < 16; at++) {
        const into = Buffer.alloc(65536)
        await guest.read(into, at * MiB)
        assert.ok(into.every((byte) => byte === round + at))
      }
    }
    await guest.flush()
    assert.equal(await serving.stop(), 0)
    const raw = `${image}.raw`
    execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', image, raw])
    const bytes = readFileSync(raw)
    for (let at = 0; at < 16; at++) assert.equal(bytes[at * MiB], 2 + at)
  })
