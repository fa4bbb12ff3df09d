import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import fc from 'fast-check'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import * as nbd from '../../src/protocol/nbd/constants.ts'
import { encodeGo, encodeMetaContext, encodeOption, encodeRequest } from '../../src/protocol/nbd/requests.ts'
import { NbdServer } from '../../src/protocol/nbd/server/server.ts'
import { MemoryDisk } from '../protocol/nbd/server/memory-disk.ts'
import { tmpDir } from '../support/tmp.ts'
import { attempt, fuzz } from './fuzz.ts'
import { type Mutation, mutate, mutations } from './mutation.ts'

const MIB = 1 << 20
const dir = tmpDir({ after })
const path = join(dir, 'nbd')

const disk = new MemoryDisk(4 * MIB)
/** Calls past the end of the disk, of which there must be none. */
const beyond: string[] = []
disk.before = (call) => {
  const [, offset, length] = /^\w+ (\d+)\+(\d+)/.exec(call) ?? [call, 0, 0]
  if (Number(offset) + Number(length) > disk.size) beyond.push(call)
  disk.calls.length = 0
  return undefined
}
const server = new NbdServer([{ name: 'disk', disk }], { handshakeTimeout: 1000, maxBytes: 2 * MIB })
await server.listenOnPath(path)

/** Stands between the server and its clients, and changes what the server says: `at` counts from the connection's first byte. */
let changes: Mutation[] = []
const between = createServer((client) => {
  const honest = connect(path)
  const list = changes
  let position = 0
  for (const socket of [client, honest]) socket.on('error', () => {})
  client.pipe(honest)
  honest.on('data', (bytes) => {
    const here = list.filter(({ at }) => at >= position && at < position + bytes.length)
    client.write(
      mutate(
        bytes,
        here.map((change) => ({ ...change, at: change.at - position })),
      ),
    )
    position += bytes.length
    if (here.some(({ kind }) => kind === 'cut')) client.destroy()
  })
  for (const [one, other] of [
    [client, honest],
    [honest, client],
  ])
    one.on('close', () => other.destroy())
})
const lying = join(dir, 'lying')
await new Promise<void>((resolve) => between.listen(lying, resolve))
after(async () => {
  between.close()
  await server.close()
})

/** Short, so that a server that leaves something out costs little; what gives up early fails in good order as well. */
const PATIENCE = { connectTimeout: 150, progressTimeout: 150 }

/** Requests of every kind, some of many bytes, all at once. */
async function work(client: NbdClient): Promise<void> {
  // Who reads past the end of an export has made a mistake of his own.
  if (client.size < 2 * MIB) return client.close()
  const buffers = [Buffer.alloc(70_000), Buffer.alloc(512), Buffer.alloc(MIB)]
  const extents = async () => {
    let covered = 0
    for await (const { length } of client.extents(0, client.size)) covered += length
    assert.equal(covered, client.size)
  }
  const requests = [
    client.read(buffers[0], 0),
    client.read(buffers[1], client.size - 512),
    client.write([Buffer.alloc(5000, 1), Buffer.alloc(60_000, 2)], 65_536),
    client.read(buffers[2], 65_536),
    client.writeZeroes(0, 100_000),
    client.hasAllocation && client.size <= 64 * MIB ? extents() : client.flush(),
    client.flush(),
  ]
  try {
    await Promise.all(requests.map((request) => attempt(() => request as Promise<unknown>, 'FAILED')))
  } finally {
    await client.close()
  }
  // A buffer is its owner's again when its read is over, however it ended.
  for (const buffer of buffers) buffer.fill(0xa5)
  await gone()
  for (const buffer of buffers) assert.ok(buffer.equals(Buffer.alloc(buffer.length, 0xa5)), 'written to after the end')
}

/** The greeting has 18 bytes, a reply to an option 20 and its data, a reply to a request 16 or 20 and its data. */
const serverSays = mutations([0, 8, 16, 18, 30, 38, 58, 78, 98, 110, 130, 150, 160, 200, 230, 250, 300, 70_300, 72_000])

fuzz('a server that says something else than it should fails a client in good order', serverSays, async (list) => {
  changes = list
  const address = { socketPath: lying, exportName: 'disk' }
  await attempt(async () => work(await NbdClient.connect(address, PATIENCE)), 'FAILED')
})

/** What an honest client might say, piece by piece, and what it might not. */
const offsets = fc.constantFrom(0, 1, 511, 65_536, 4 * MIB - 1, 4 * MIB, 2 ** 32, 2 ** 52)
const lengths = fc.constantFrom(0, 1, 512, 4096, 70_000, MIB, 4 * MIB, 32 * MIB, 2 ** 32 - 1)
const request = fc
  .record({
    type: fc.nat(9),
    flags: fc.constantFrom(0, 1, 2, 4, 8, 16, 31, 0x8000),
    offset: offsets,
    length: lengths,
    whole: fc.boolean(),
  })
  .map(({ type, flags, offset, length, whole }) => {
    const payload = type === nbd.CMD_WRITE ? Buffer.alloc(Math.min(length, whole ? 2 * MIB : 100)) : Buffer.alloc(0)
    return Buffer.concat([encodeRequest(type, flags, { high: 1, low: 2 }, offset, length), payload])
  })
const exportName = fc.constantFrom('disk', '', 'nowhere', 'x'.repeat(5000))
const option = fc.oneof(
  exportName.map((name) => encodeOption(nbd.OPT_GO, encodeGo(name, [nbd.INFO_BLOCK_SIZE]))),
  exportName.map((name) => encodeOption(nbd.OPT_INFO, encodeGo(name, [0, 1, 2, 3, 99]))),
  exportName.map((name) =>
    encodeOption(nbd.OPT_SET_META_CONTEXT, encodeMetaContext(name, ['base:', 'base:allocation'])),
  ),
  exportName.map((name) => encodeOption(nbd.OPT_EXPORT_NAME, Buffer.from(name))),
  fc.tuple(fc.nat(12), fc.uint8Array({ maxLength: 100 })).map(([number, data]) => encodeOption(number, data)),
)
const GO = encodeOption(nbd.OPT_GO, encodeGo('disk', []))
const clientSays = fc.record({
  flags: fc.constantFrom(3, 3, 3, 1, 0, 0xffffffff),
  structured: fc.boolean(),
  options: fc.array(option, { maxLength: 3 }),
  requests: fc.array(request, { maxLength: 12 }),
  changes: mutations([], 3),
  /** It goes away without waiting. */
  rude: fc.boolean(),
  reads: fc.boolean(),
})

fuzz('a client that says something else than it should harms nobody but itself', clientSays, async (input) => {
  const { flags, structured, options, requests, changes, rude, reads } = input
  const begin = Buffer.alloc(4)
  begin.writeUInt32BE(flags)
  const haggle = [...(structured ? [encodeOption(nbd.OPT_STRUCTURED_REPLY)] : []), ...options, GO]
  const stream = mutate(Buffer.concat([begin, ...haggle, ...requests]), changes)
  const socket = connect(path)
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  if (reads) socket.resume()
  socket.write(stream)
  if (rude) setTimeout(() => socket.destroy(), 1)
  else socket.end(() => socket.resume())
  await closed
  await gone()
  assert.equal(server.stats.inFlight, 0)
  assert.deepEqual(beyond, [])
  await isWell()
})

/** Its end is a matter of microseconds: looks often. */
async function gone(): Promise<void> {
  while (server.stats.connections > 0) await tick()
}

/** Others are served as before. */
async function isWell(): Promise<void> {
  const client = await NbdClient.connect({ socketPath: path, exportName: 'disk' })
  await client.write([Buffer.alloc(512, 9)], 1024)
  const bytes = Buffer.alloc(512)
  await client.read(bytes, 1024)
  assert.ok(bytes.every((byte) => byte === 9))
  await client.close()
  await gone()
}
