import assert from 'node:assert/strict'
import { appendFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, type TestContext, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { NbdServer } from '../../src/protocol/nbd/server/server.ts'
import { parseNbdUri } from '../../src/protocol/nbd/uri.ts'
import { openNbdReader, openNbdWriter } from '../../src/storage/nbd-drive.ts'
import { MemoryDisk } from '../protocol/nbd/server/memory-disk.ts'
import { partialIn, processesIn, until } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { seed, seeded } from '../support/random.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { aftermath, files } from './aftermath.ts'

const timeout = 120_000
const MIB = 1 << 20
const SIZE = 12 * MIB
const random = seeded(seed)

const dir = tmpDir({ after })
const disk = join(dir, 'disk.raw')
const archive = join(dir, 'a.vma.zst')

before(async () => {
  writeImage(disk, SIZE, { noise: 6 * MIB, text: 3 * MIB, tail: MIB })
  await backup({ drives: { d: disk }, to: archive })
})

/** An NBD export of ours that does as it is told; what it is asked for goes through `fault` first. */
async function exported(t: TestContext, fault: (call: string) => Promise<void> | undefined) {
  const memory = new MemoryDisk(SIZE)
  memory.content.fill('not zero')
  memory.before = fault
  const server = new NbdServer([{ name: '', disk: memory }])
  const socket = join(tmpDir(t), 'nbd')
  await server.listenOnPath(socket)
  t.after(() => server.close({ grace: 0 }).catch(() => {}))
  return { uri: `nbd+unix:///?socket=${socket}`, server }
}

/** Where a call begins: `write 4096+512` at 4096; a flush nowhere. */
const placeOf = (call: string) => Number(/^\w+ (\d+)\+/.exec(call)?.[1] ?? 0)

const eio = () => Promise.reject(Object.assign(new Error('input/output error'), { code: 'EIO' }))

describe(`an NBD export that fails at a random place (VMAPIPE_SEED=${seed})`, { timeout }, () => {
  test('fails the backup that reads it, with drive and byte, and nothing is left', async (t) => {
    let bad = 0
    const fault = (call: string) => (call.startsWith('read') && placeOf(call) >= bad ? eio() : undefined)
    const { uri } = await exported(t, fault)
    const folder = tmpDir(t)
    for (let n = 0; n < 8; n++) {
      bad = Math.floor(random() * (SIZE - 4 * MIB))
      const error = await aftermath(folder, () => backup({ drives: { d: uri }, to: join(folder, 'b.vma.zst') }))
      assert.match(
        error.line,
        /^cluster-source: .*READ of \d+ bytes failed: input\/output error .*drive d, byte \d+\)$/,
      )
      assert.ok(error.where.offset! >= bad - 4 * MIB, `${error.where.offset}, not ${bad}`)
    }
  })

  for (const command of ['write', 'zero', 'flush']) {
    test(`fails the restore whose ${command} it refuses`, async (t) => {
      let left = 0
      const fault = (call: string) => (call.startsWith(command) && left-- <= 0 ? eio() : undefined)
      const { uri } = await exported(t, fault)
      const folder = tmpDir(t)
      for (let n = 0; n < 5; n++) {
        left = command === 'write' ? Math.floor(random() * 5) : 0
        const error = await aftermath(folder, () => restore({ from: archive, drives: { d: uri } }))
        assert.match(
          error.line,
          /^cluster-writer: .* (WRITE|WRITE_ZEROES|FLUSH) of \d+ bytes failed: input\/output error/,
        )
      }
    })
  }

  test('fails backup and restore in one line when it goes away', async (t) => {
    const folder = tmpDir(t)
    const uris: string[] = []
    for (const command of ['read', 'write']) {
      let left = Math.floor(random() * 4)
      const { uri, server } = await exported(t, (call) => {
        if (call.startsWith(command) && left-- === 0) void server.close({ grace: 0 })
        return undefined
      })
      uris.push(uri)
    }
    const gone = /closed the connection|reset by peer|broken pipe/
    const lost = await aftermath(folder, () => backup({ drives: { d: uris[0] }, to: join(folder, 'b.vma') }))
    assert.match(lost.line, gone)
    const unwritten = await aftermath(folder, () => restore({ from: archive, drives: { d: uris[1] } }))
    assert.match(unwritten.line, gone)
  })
})

describe('an NBD server that hangs', { timeout }, () => {
  const PATIENCE = { progressTimeout: 300 }
  /** Is never answered as long as the job goes on. */
  let never = Promise.withResolvers<void>()
  beforeEach(() => {
    never = Promise.withResolvers()
  })
  const hung = /the NBD server has not answered for 0\.3 s/

  test('fails the backup that reads from it, and nothing is left', async (t) => {
    const { uri } = await exported(t, (call) => (placeOf(call) > 2 * MIB ? never.promise : undefined))
    const folder = tmpDir(t)
    const error = await aftermath(folder, async () => {
      const d = await openNbdReader(parseNbdUri(uri), PATIENCE)
      await backup({ drives: { d } as never, to: join(folder, 'b.vma') }).finally(never.resolve)
    })
    assert.match(error.line, hung)
  })

  for (const call of ['write', 'zero'] as const) {
    test(`fails a ${call} that it does not answer`, async (t) => {
      const { uri } = await exported(t, () => never.promise)
      const error = await aftermath(tmpDir(t), async () => {
        const writer = await openNbdWriter(parseNbdUri(uri), SIZE, false, PATIENCE)
        const work = call === 'write' ? writer.write([Buffer.alloc(4 * MIB)], 0) : writer.zero(0, SIZE)
        await work.finally(() => writer.close()).finally(never.resolve)
      })
      assert.match(error.line, hung)
    })
  }
})

describe('a source that changes its size during its backup', { timeout }, () => {
  for (const [what, change, message] of [
    ['shrinks', (path: string) => truncateSync(path, 8 * MIB), /cluster-source: .*shrunk.*disk\.raw.*drive d/],
    [
      'grows',
      (path: string) => appendFileSync(path, 'x'),
      /cluster-source: the file has grown to 50331649 bytes .*disk\.raw/,
    ],
  ] as const) {
    test(`fails it where it ${what}, and nothing is left`, async (t) => {
      const folder = tmpDir(t)
      const source = join(folder, 'disk.raw')
      // More than is read ahead.
      writeImage(source, 48 * MIB, { noise: 48 * MIB })
      const error = await aftermath(folder, async () => {
        const job = backup({ drives: { d: source }, to: join(folder, 'b.vma'), buffer: 16 * MIB, bwlimit: '24MiB/s' })
        await partialIn(folder, MIB)
        change(source)
        await job
      })
      assert.match(error.line, message)
    })
  }
})

describe('an ssh connection that is cut', { timeout, ...needs('sshd', 'ssh', 'ssh-keygen') }, () => {
  test('fails the backup that goes through it, and nothing is left at either end', async (t) => {
    const sshd = await startSshd(t)
    const error = await aftermath(tmpDir(t), async () => {
      const job = backup({ drives: { d: disk }, to: `ssh://${SSH_HOST}/~/b.vma.zst`, bwlimit: '4MiB/s' })
      await partialIn(sshd.home, MIB)
      sshd.cut()
      await job
    })
    assert.match(error.line, /^sink: ssh to .* ended with exit code 255/)
    await until(
      () => files(sshd.home).length === 0 && processesIn(sshd.home).length === 0,
      'the end of the remote script',
    )
  })

  test('fails the restore that comes through it, and nothing is left', async (t) => {
    const sshd = await startSshd(t)
    const folder = tmpDir(t)
    // Much more than ssh and pipes hold: the remote end is still sending, however late the cut comes.
    const long = join(tmpDir(t), 'long.vma')
    writeImage(`${long}.raw`, 48 * MIB, { noise: 48 * MIB })
    await backup({ drives: { d: `${long}.raw` }, to: long })
    const error = await aftermath(folder, async () => {
      const job = restore({ from: `ssh://${SSH_HOST}${long}`, into: join(folder, 'out'), bwlimit: '4MiB/s' })
      await until(() => files(folder).length > 1, 'a temporary file')
      sshd.cut()
      await job
    })
    assert.match(error.line, /^source: ssh to .* ended with exit code 255/)
    await until(() => processesIn(sshd.home).length === 0, 'the end of the remote script')
  })
})
