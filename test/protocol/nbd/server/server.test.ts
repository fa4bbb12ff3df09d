import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import * as nbd from '../../../../src/protocol/nbd/constants.ts'
import { NbdServer } from '../../../../src/protocol/nbd/server/server.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { MemoryDisk } from './memory-disk.ts'
import { serve, WireClient } from './wire-client.ts'

const timeout = 60_000
const MiB = 2 ** 20

const openFiles = () => readdirSync('/proc/self/fd').length

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(2)
}

describe('NBD server, sockets', { timeout }, () => {
  test('its unix socket is for the owner alone and goes with the server', async (t) => {
    const folder = tmpDir(t)
    const path = join(folder, 'nbd')
    const server = new NbdServer([{ name: '', disk: new MemoryDisk(MiB) }])
    await server.listenOnPath(path)
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(folder), ['nbd'], 'nothing else is left there')
    await server.close()
    assert.deepEqual(readdirSync(folder), [])
  })

  test('the socket of a server that was killed is replaced, one in use is not, nor is a file', async (t) => {
    const folder = tmpDir(t)
    const path = join(folder, 'nbd')
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen('${path}', () => console.log(1))`,
    ])
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.ok(existsSync(path), 'it left its socket behind')
    const exports = [{ name: '', disk: new MemoryDisk(MiB) }]
    const server = new NbdServer(exports)
    t.after(() => server.close())
    await server.listenOnPath(path)
    await assert.rejects(new NbdServer(exports).listenOnPath(path), {
      code: 'FAILED',
      message: /listens on this socket/,
    })
    await (await WireClient.connect(path)).go('')
    writeFileSync(join(folder, 'file'), 'precious')
    await assert.rejects(new NbdServer(exports).listenOnPath(join(folder, 'file')), { code: 'USAGE' })
    symlinkSync('/nowhere', join(folder, 'link'))
    await assert.rejects(new NbdServer(exports).listenOnPath(join(folder, 'link')), { code: 'USAGE' })
    await assert.rejects(new NbdServer(exports).listenOnPath(join(folder, 'no/such/folder')), { code: 'FAILED' })
    await assert.rejects(new NbdServer(exports).listenOnPath(join(folder, 'x'.repeat(120))), /too long/)
    assert.deepEqual(readdirSync(folder).sort(), ['file', 'link', 'nbd'])
  })

  test('a successor under the same name keeps its socket when the first one closes', async (t) => {
    const path = join(tmpDir(t), 'nbd')
    const first = new NbdServer([])
    await first.listenOnPath(path)
    execFileSync('rm', [path])
    const second = new NbdServer([])
    await second.listenOnPath(path)
    await first.close()
    assert.ok(existsSync(path))
    await second.close()
  })

  test('a name in the current folder is never taken for a port', async (t) => {
    const before = process.cwd()
    process.chdir(tmpDir(t))
    t.after(() => process.chdir(before))
    // About every thirtieth name of eight hexadecimal digits behind a dot reads as a number.
    for (let round = 0; round < 200; round++) {
      const server = new NbdServer([])
      await server.listenOnPath('8080')
      assert.ok(existsSync('8080'))
      await server.close()
    }
  })

  test('TCP on a port of its own choice', async (t) => {
    const server = new NbdServer([{ name: 'd', disk: new MemoryDisk(MiB) }])
    t.after(() => server.close({ grace: 100 }))
    const port = await server.listenOnPort('127.0.0.1', 0)
    const socket = connect(port, '127.0.0.1')
    const [greeting] = await once(socket, 'data')
    assert.equal(greeting.subarray(0, 8).toString(), 'NBDMAGIC')
    socket.destroy()
    await assert.rejects(server.listenOnPort('127.0.0.1', port), { code: 'FAILED' })
  })

  test('two exports of one name, or a name that cannot be, are a mistake', () => {
    const disk = new MemoryDisk(512)
    const two = [
      { name: 'x', disk },
      { name: 'x', disk },
    ]
    assert.throws(() => new NbdServer(two), { code: 'USAGE' })
    assert.throws(() => new NbdServer([{ name: 'x'.repeat(4097), disk }]), { code: 'USAGE' })
    assert.throws(() => new NbdServer([{ name: 'x', description: 'a\0b', disk }]), { code: 'USAGE' })
  })

  test('one client too many is hung up on, and the next may come when one has gone', async (t) => {
    const served = await serve(t, [{ name: 'd', disk: new MemoryDisk(MiB) }], { maxConnections: 2 })
    const first = await (await served.connect()).go('d')
    await (await served.connect()).go('d')
    await (await served.connect()).ended()
    first.socket.end(first.request(nbd.CMD_DISC, 0, 0))
    await first.ended()
    await until(() => served.server.stats.connections === 1)
    await (await served.connect()).go('d')
  })
})

describe('NBD server, the end', { timeout }, () => {
  test('what was asked is done and answered, and flushed, before the connection closes', async (t) => {
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const client = await (await served.connect()).go('d')
    const slow = Promise.withResolvers<void>()
    disk.before = (call) => (call.startsWith('write') ? slow.promise : undefined)
    client.send(client.request(nbd.CMD_WRITE, 0, 4), Buffer.from('last'))
    await until(() => disk.calls.length === 1)
    const closed = served.server.close()
    client.send(client.request(nbd.CMD_WRITE, 100, 4), Buffer.from('late'))
    await sleep(30)
    assert.deepEqual(disk.calls, ['write 0+4'])
    slow.resolve()
    assert.equal((await client.reply()).errno, 0)
    await client.ended()
    await closed
    assert.deepEqual(disk.calls, ['write 0+4', 'flush'])
    assert.equal(disk.content.toString('latin1', 0, 4), 'last')
    await assert.rejects(WireClient.connect(served.path), { code: 'ENOENT' })
  })

  test('a client that takes no replies does not hold the end up', async (t) => {
    const served = await serve(t, [{ name: 'd', disk: new MemoryDisk(64 * MiB) }])
    const client = await (await served.connect()).go('d')
    client.socket.pause()
    client.send(client.request(nbd.CMD_READ, 0, 16 * MiB))
    await until(() => served.server.stats.reads === 1)
    const before = performance.now()
    await served.server.close({ grace: 100 })
    assert.ok(performance.now() - before < 4500, 'not as long as without a limit')
    assert.equal(served.server.stats.connections, 0)
  })

  test('a flush that fails is told, when all else is done', async (t) => {
    const broken = new MemoryDisk(512)
    const fine = new MemoryDisk(512)
    broken.before = () => Promise.reject(Object.assign(new Error('gone'), { code: 'EIO' }))
    const served = await serve(t, [
      { name: 'a', disk: broken },
      { name: 'b', disk: fine },
      { name: 'c', disk: fine },
    ])
    await assert.rejects(served.server.close(), /input\/output error/)
    assert.deepEqual(fine.calls, ['flush'], 'once, though it has two names')
  })

  test('DISC waits for what is in flight', async (t) => {
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const client = await (await served.connect()).go('d')
    const slow = Promise.withResolvers<void>()
    disk.before = () => slow.promise
    client.send(client.request(nbd.CMD_READ, 0, 512, { cookie: 9 }), client.request(nbd.CMD_DISC, 0, 0))
    await until(() => disk.calls.length === 1)
    await sleep(10)
    slow.resolve()
    assert.equal((await client.reply()).cookie, 9)
    await client.ended()
  })

  test('DISC with many requests in flight leaves no listeners behind, of which Node would warn', async (t) => {
    const warnings: string[] = []
    const note = ({ message }: Error) => warnings.push(message)
    process.on('warning', note)
    t.after(() => process.off('warning', note))
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const client = await (await served.connect()).go('d')
    const slow = Promise.withResolvers<void>()
    disk.before = () => slow.promise
    const reads = Array.from({ length: 40 }, (_, cookie) => client.request(nbd.CMD_READ, 0, 65536, { cookie }))
    client.send(...reads, client.request(nbd.CMD_DISC, 0, 0))
    await until(() => disk.calls.length === reads.length)
    slow.resolve()
    for (const _ of reads) await client.reply()
    await client.ended()
    await sleep(10)
    assert.deepEqual(warnings, [])
  })

  test('a client that shuts its side down first still gets its replies', async (t) => {
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const socket = connect({ path: served.path, allowHalfOpen: true })
    let received = 0
    socket.on('data', (bytes) => {
      received += bytes.length
    })
    const slow = Promise.withResolvers<void>()
    disk.before = () => slow.promise
    socket.end(OLD_SESSION)
    await until(() => disk.calls.length === 1)
    slow.resolve()
    await once(socket, 'close')
    assert.equal(received, 18 + 10 + 16 + 512)
  })

  test('a client that is cut off in the middle of a write leaves nothing behind, and the write is not done', async (t) => {
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    for (const sent of [0, 1, 4095]) {
      const client = await (await served.connect()).go('d')
      client.send(client.request(nbd.CMD_WRITE, 0, 4096), Buffer.alloc(sent))
      await sleep(5)
      client.socket.destroy()
    }
    await until(() => served.server.stats.connections === 0)
    assert.deepEqual(disk.calls, [])
    assert.equal(served.server.stats.inFlight, 0)
  })

  test('writes in flight are done though their client is gone', async (t) => {
    const disk = new MemoryDisk(MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const client = await (await served.connect()).go('d')
    const slow = Promise.withResolvers<void>()
    disk.before = () => slow.promise
    client.send(client.request(nbd.CMD_WRITE, 0, 4), Buffer.from('done'))
    await until(() => disk.calls.length === 1)
    client.socket.destroy()
    await sleep(20)
    assert.equal(served.server.stats.connections, 1, 'not over before its write is')
    slow.resolve()
    await until(() => served.server.stats.connections === 0)
    assert.equal(disk.content.toString('latin1', 0, 4), 'done')
  })

  test('two hundred clients, in every way they may come and go, leave no descriptor and little memory', async (t) => {
    const disk = new MemoryDisk(4 * MiB)
    const served = await serve(t, [{ name: 'd', disk }])
    const visit = async (i: number) => {
      const client = await served.connect()
      if (i % 5 === 0) return client.socket.destroy()
      await client.go('d')
      client.send(client.request(nbd.CMD_READ, 0, MiB), client.request(nbd.CMD_WRITE, 0, 65536), Buffer.alloc(65536))
      if (i % 5 === 1) return client.socket.destroy()
      await client.reply()
      if (i % 5 === 2) client.socket.end(client.request(nbd.CMD_DISC, 0, 0))
      else client.socket.end()
      await client.ended()
    }
    const round = async () => {
      for (let i = 0; i < 200; i += 10) await Promise.all(Array.from({ length: 10 }, (_, j) => visit(i + j)))
      await until(() => served.server.stats.connections === 0)
    }
    await round()
    const [files, memory] = [openFiles(), process.memoryUsage.rss()]
    await round()
    await until(() => openFiles() <= files)
    assert.ok(process.memoryUsage.rss() - memory < 64 * MiB)
    assert.equal(served.server.stats.accepted, 400)
    assert.equal(served.server.stats.inFlight, 0)
  })
})

/** An old client's whole session in one breath: flags, EXPORT_NAME of "d", a read of 512 bytes. */
const OLD_SESSION = Buffer.from(
  '00000003' + '49484156454f5054000000010000000164' + '256095130000000000c0ffee00000001000000000000000000000200',
  'hex',
)
