import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type ArchiveReport, DamagedArchive } from '../../src/operations/archive-report.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { DRIVE, type Forgery, forge } from '../support/forge.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 120_000
const HEADER = 12800
const drive = (name: string, id = 1) => ({ ...DRIVE, id, name })
const config = (name: string) => ({ name, data: Buffer.from('x') })
const slot = (cluster: number, id = 1) => ({ drive: id, cluster, mask: 1 })

/** What the archive has wrong, what the error must say, and at which byte of the archive. */
const CASES: Record<string, [Buffer | Forgery, RegExp, number | undefined]> = {
  'a drive that leads out of the folder': [{ drives: [drive('../../x')] }, /drive name '..\/..\/x' has a slash/, 4128],
  'a drive with an absolute name': [{ drives: [drive('/etc/x')] }, /has a slash/, 4128],
  'a drive with a backslash': [{ drives: [drive('..\\x')] }, /has a slash/, 4128],
  'a drive with a control character': [{ drives: [drive('a\x1b[2Jb')] }, /'a\\u\{1b\}\[2Jb' has control char/, 4128],
  'two drives of one name': [{ drives: [drive('d'), drive('d', 200)] }, /is that of two drives/, 4096 + 200 * 32],
  'a config that leads out of the folder': [{ configs: [config('../x')] }, /config name '..\/x' has a slash/, 2044],
  'a config with an absolute name': [{ configs: [config('/etc/cron.d/x')] }, /has a slash/, 2044],
  'a config of a folder': [{ configs: [config('..')] }, /is not the name of a file/, 2044],
  'a config without a name': [{ configs: [config('')] }, /is not the name of a file/, 2044],
  'a config with a line feed': [{ configs: [config('a\nb')] }, /'a\\u\{a\}b' has control characters/, 2044],
  'a missing cluster': [{ extents: [[slot(0)]] }, /1 of 2 clusters missing/, HEADER + 512 + 4096],
  'a missing extent': [{ extents: [] }, /2 of 2 clusters missing/, HEADER],
  'a cluster twice': [{ extents: [[slot(0), slot(1)], [slot(1)]] }, /comes twice/, HEADER + 512 + 2 * 4096],
  'a cluster twice in one extent': [{ extents: [[slot(0), slot(1), slot(0)]] }, /comes twice/, HEADER],
  'a drive that is not declared': [{ extents: [[slot(0), slot(1), slot(0, 9)]] }, /dev_id 9/, HEADER],
  'a cluster past the end': [{ extents: [[slot(0), slot(1), slot(2)]] }, /past the end of the drive/, HEADER],
  'a cluster far past the end': [{ extents: [[slot(0), slot(1), slot(0xffffffff)]] }, /past the end/, HEADER],
  'more blocks claimed than there are': [
    { extent: (bytes) => bytes.writeUInt16BE(59 * 16, 6) },
    /claims 944 blocks, its slots have 2/,
    HEADER,
  ],
  'fewer blocks claimed than there are': [{ extent: (bytes) => bytes.writeUInt16BE(0, 6) }, /claims 0 blocks/, HEADER],
  'an extent of another archive': [{ extent: (bytes) => bytes.fill(8, 8, 24) }, /another archive/, HEADER],
  'reserved bytes of an extent in use': [{ extent: (bytes) => bytes.writeUInt16BE(1, 4) }, /reserved bytes/, HEADER],
  'a header that claims to be 4 GiB': [{ header: (bytes) => bytes.writeUInt32BE(0xffffffff, 56) }, /4294967295 by/, 56],
  'a header that claims to be nothing': [{ header: (bytes) => bytes.writeUInt32BE(0, 56) }, /claims 0 bytes/, 56],
  'a blob buffer outside': [{ header: (bytes) => bytes.writeUInt32BE(0xfffffff0, 52) }, /outside the header/, 48],
  'a blob buffer that wraps': [{ header: (bytes) => bytes.writeUInt32BE(0xfffffff0, 48) }, /outside the header/, 48],
  'a name outside the blob buffer': [{ header: (bytes) => bytes.writeUInt32BE(60000, 4128) }, /outside/, 12288 + 60000],
  'a drive beyond all sizes': [{ header: (bytes) => bytes.fill(0xff, 4136, 4144) }, /more than a drive can/, 4136],
  'another version': [{ header: (bytes) => bytes.writeUInt32BE(3, 4) }, /version 3 is not known/, 4],
  'an incremental archive that names no parent': [
    { header: (bytes) => bytes.writeUInt32BE(2, 4) },
    /is incremental, but its record cannot be read/,
    60,
  ],
  'a flipped bit in the header': [flipped(5000), /checksum of the header/, 32],
  'a flipped bit in an extent header': [flipped(HEADER + 100), /checksum of the extent header/, HEADER],
  'bytes after the last extent': [
    Buffer.concat([forge(), Buffer.alloc(512)]),
    /goes on after its last extent with 00 00 00 00/,
    HEADER + 8704,
  ],
  'few bytes after the last extent': [
    Buffer.concat([forge(), Buffer.alloc(3)]),
    /goes on after its last extent with 00 00 00/,
    HEADER + 8704,
  ],
  'a cut within an extent': [forge().subarray(0, -1), /within an extent/, HEADER + 8703],
  'a cut within an extent header': [forge().subarray(0, HEADER + 511), /within an extent/, HEADER + 511],
  'a cut within the header': [forge().subarray(0, 12000), /within its header/, 12000],
  'nothing at all': [Buffer.alloc(0), /empty/, 0],
}

/** How the only drive of a damaged archive is left. */
function nameOf(name: string, { drives: [{ damaged, missing }] }: ArchiveReport): string {
  return damaged.bytes + missing.bytes === 0 ? name : `${name}.damaged`
}

function flipped(at: number): Buffer {
  const bytes = forge()
  bytes[at] ^= 4
  return bytes
}

describe('an archive with', { timeout }, () => {
  for (const [what, [forgery, message, offset]] of Object.entries(CASES)) {
    test(`${what} is refused by restore and verify, and leaves no drive under its name that is not whole`, async (t) => {
      const dir = tmpDir(t)
      const from = join(dir, 'a.vma')
      writeFileSync(from, Buffer.isBuffer(forgery) ? forgery : forge(forgery))
      const refused = (error: VmapipeError) => {
        assert.equal(error.exitCode, 3, error.line)
        assert.match(error.line, message)
        assert.equal(error.where.offset, offset, error.line)
        return true
      }
      await assert.rejects(verify({ from }), refused)
      let report: ArchiveReport | null = null
      await assert.rejects(restore({ from, into: join(dir, 'out') }), (error: VmapipeError) => {
        if (error instanceof DamagedArchive) report = error.report
        return refused(error)
      })
      await assert.rejects(restore({ from, drives: { d: join(dir, 'd.raw') } }), refused)
      assert.deepEqual(readdirSync(dir).sort(), report === null ? ['a.vma'] : ['a.vma', nameOf('d.raw', report), 'out'])
      if (report !== null) assert.deepEqual(readdirSync(join(dir, 'out')), [nameOf('disk-d.raw', report)])
    })
  }

  test('an undamaged forgery is accepted, or these tests would say nothing', async (t) => {
    const dir = tmpDir(t)
    const from = join(dir, 'a.vma')
    writeFileSync(from, forge({ configs: [config('qemu-server.conf')] }))
    await verify({ from })
    await restore({ from, into: join(dir, 'out') })
    assert.deepEqual(readdirSync(join(dir, 'out')).sort(), ['disk-d.raw', 'qemu-server.conf'])
  })

  test('blocks past the end of a drive is accepted, as by the real tool, without them', async (t) => {
    const dir = tmpDir(t)
    const from = join(dir, 'a.vma')
    const drives = [{ ...DRIVE, size: CLUSTER_SIZE + 4097 }, drive('e', 2)]
    const extents = [[{ ...slot(1), mask: 0xffff }, slot(0, 2), { ...slot(0), mask: 0x8000 }, slot(1, 2)]]
    writeFileSync(from, forge({ drives, extents }))
    assert.equal((await verify({ from })).drives[0].stored, 3 * 4096)
    await restore({ from, into: join(dir, 'out') })
    const bytes = readFileSync(join(dir, 'out/disk-d.raw'))
    assert.equal(bytes.length, CLUSTER_SIZE + 4097)
    assert.ok(bytes.subarray(CLUSTER_SIZE).equals(Buffer.alloc(4097, 0x5a)))
    assert.equal(bytes[CLUSTER_SIZE - 4096], 0x5a)
  })

  test('drives that are called as what every object has are drives like others', async (t) => {
    const dir = tmpDir(t)
    const from = join(dir, 'a.vma')
    const names = ['constructor', 'toString', '__proto__', 'hasOwnProperty']
    writeFileSync(from, forge({ drives: names.map((name, index) => drive(name, index + 1)) }))
    await restore({ from, drives: { toString: join(dir, 'x.raw') } })
    await restore({ from, into: join(dir, 'out') })
    assert.deepEqual(readdirSync(dir).sort(), ['a.vma', 'out', 'x.raw'])
    assert.equal(readdirSync(join(dir, 'out')).length, names.length)
  })

  test('a drive of 256 TiB costs neither time nor memory', async (t) => {
    const from = join(tmpDir(t), 'a.vma')
    writeFileSync(from, forge({ drives: [{ ...DRIVE, size: 2 ** 48 }], extents: [[slot(0), slot(2 ** 32 - 1)]] }))
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    await assert.rejects(verify({ from }), { code: 'INCOMPLETE', message: /4294967294 of 4294967296 clusters missing/ })
    const after = process.memoryUsage()
    assert.ok(after.heapUsed + after.arrayBuffers - heapUsed - arrayBuffers < 100 << 20)
  })
})

describe('a target folder with', { timeout }, () => {
  const from = (dir: string) => {
    const path = join(dir, 'a.vma')
    writeFileSync(path, forge({ configs: [config('qemu-server.conf')] }))
    return path
  }

  for (const name of ['disk-d.raw', 'qemu-server.conf']) {
    test(`a planted link ${name} has it refused, or replaced with force, never followed`, async (t) => {
      const dir = tmpDir(t)
      const into = join(dir, 'out')
      mkdirSync(into)
      const victim = join(dir, 'victim')
      writeFileSync(victim, 'precious')
      symlinkSync(victim, join(into, name))
      await assert.rejects(restore({ from: from(dir), into }), { code: 'FAILED', message: /was not overwritten/ })
      assert.deepEqual(readdirSync(into), [name])
      await restore({ from: from(dir), into, force: true })
      assert.equal(readFileSync(victim, 'utf8'), 'precious')
      assert.ok(readFileSync(join(into, name)).length > 0)
    })
  }

  test('a link to a device is a link like others', async (t) => {
    const dir = tmpDir(t)
    const into = join(dir, 'out')
    mkdirSync(into)
    // A device that nothing can be written to by mistake: opening it as one fails.
    symlinkSync('/dev/loop63', join(into, 'disk-d.raw'))
    await assert.rejects(restore({ from: from(dir), into }), { message: /was not overwritten/ })
    await restore({ from: from(dir), into, force: true })
    assert.equal(readFileSync(join(into, 'disk-d.raw')).length, 2 * CLUSTER_SIZE)
  })

  test('files of somebody else keeps them when the restore fails', async (t) => {
    const dir = tmpDir(t)
    const into = join(dir, 'out')
    mkdirSync(into)
    writeFileSync(join(into, 'other'), 'x')
    const cut = join(dir, 'cut.vma')
    writeFileSync(cut, forge().subarray(0, 12_000))
    await assert.rejects(restore({ from: cut, into }), { code: 'INCOMPLETE' })
    assert.deepEqual(readdirSync(into), ['other'])
    await assert.rejects(restore({ from: cut, into: join(dir, 'new/deep/er') }), { code: 'INCOMPLETE' })
    assert.ok(!existsSync(join(dir, 'new')))
  })
})
