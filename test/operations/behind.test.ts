import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { cat } from '../../src/operations/cat.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { piped } from '../support/content.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const MIB = 1 << 20
const timeout = 120_000

/** A compression of ours, or a program. */
const MADE: Record<string, [string, ...string[]] | string> = {
  vma: 'none',
  zstd: 'zstd',
  lz4: 'lz4',
  gzip: 'gzip',
  'zstd -c': ['zstd', '-c'],
  'lz4 -c': ['lz4', '-c'],
  'lz4 -l': ['lz4', '-c', '-l'],
  'gzip -c': ['gzip', '-c', '-1'],
  'lzop -c': ['lzop', '-c'],
}
const PROGRAMS = ['zstd', 'lz4', 'gzip', 'lzop']

describe('bytes behind the end of an archive', () => {
  const dir = tmpDir({ after })
  const disk = join(dir, 'disk.raw')
  const image = () => readFileSync(disk)

  before(() => writeImage(disk, 5 * MIB, { noise: 2 * MIB, text: MIB }))

  /** An archive that says where it ends, or one as the real tool makes them: nothing is at its end. */
  async function made(name: string, ends: boolean): Promise<Buffer> {
    const how = MADE[name]
    const to = join(dir, `${ends ? 'ours' : 'theirs'}-${name.replace(' ', '')}.vma`)
    const plainly = { ...(!ends && { checksums: false, index: false }), force: true }
    await backup({ drives: { d: disk }, to, compress: typeof how === 'string' ? how : 'none', ...plainly })
    return typeof how === 'string' ? readFileSync(to) : piped(how[0], how.slice(1), readFileSync(to))
  }

  const magicOf = (archive: Buffer) => archive.subarray(0, 4)
  const tails: Record<string, (archive: Buffer) => Buffer> = {
    'a newline': () => Buffer.from('\n'),
    zeroes: () => Buffer.alloc(70_000),
    text: () => Buffer.from('some text that somebody appended'),
    'old bytes of a device': () => image().subarray(0, 300_000),
    'the same archive again': (archive) => archive,
    'the end of another archive': (archive) => archive.subarray(archive.length - 100_000),
    'the beginning of another archive': (archive) => archive.subarray(0, 100_000),
    'what looks like a beginning': (archive) => Buffer.concat([magicOf(archive), Buffer.from('junk')]),
    'the beginning alone': (archive) => magicOf(archive),
  }

  async function outcome(from: string | Readable) {
    const warnings: string[] = []
    const to = join(dir, 'back.raw')
    const error = await restore({ from, drives: { d: to }, force: true, warn: (line) => warnings.push(line) }).then(
      () => null,
      (error) => error,
    )
    return { warnings, error, whole: readFileSync(to).equals(image()) }
  }

  for (const name of Object.keys(MADE)) {
    test(`${name}: an archive that says where it ends is whole`, { ...needs(...PROGRAMS), timeout }, async () => {
      const archive = await made(name, true)
      for (const [what, tail] of Object.entries(tails)) {
        const from = join(dir, 'behind.vma')
        writeFileSync(from, Buffer.concat([archive, tail(archive)]))
        for (const source of [from, Readable.from([readFileSync(from)])]) {
          const { warnings, error, whole } = await outcome(source)
          assert.equal(error, null, `${what}: ${error?.line}`)
          assert.ok(whole, what)
          assert.equal(warnings.length, 1, `${what}: ${warnings}`)
          assert.match(warnings[0], new RegExp(`ends at byte ${archive.length};`), what)
        }
        const { behind } = await verify({ from })
        assert.deepEqual(behind, { offset: archive.length, within: 'archive' }, what)
      }
      writeFileSync(join(dir, 'alone.vma'), archive)
      assert.equal((await verify({ from: join(dir, 'alone.vma') })).behind, null)
    })
  }

  for (const name of Object.keys(MADE).filter((name) => typeof MADE[name] !== 'string' || name === 'vma')) {
    test(`${name}: of any other the drives are whole, and the first of them is told`, {
      ...needs(...PROGRAMS),
      timeout,
    }, async () => {
      const plain = await made('vma', false)
      const archive = await made(name, false)
      for (const [what, tail] of Object.entries(tails)) {
        const from = join(dir, 'behind.vma')
        writeFileSync(from, Buffer.concat([archive, tail(archive)]))
        const { error, whole } = await outcome(from)
        assert.equal(error?.exitCode, 3, `${what}: ${error?.line}`)
        assert.ok(whole, what)
        const { drives, damage } = error.report
        assert.equal(drives[0].damaged.bytes + drives[0].missing.bytes, 0, `${what}: ${error.line}`)
        const told = [archive.length, plain.length].some((at) => error.line.includes(`byte ${at}`))
        assert.ok(told, `${what}: ${error.line}, not ${archive.length}`)
        assert.ok(damage.length <= 2, damage.map(({ error }: { error: Error }) => error.message).join('\n'))
      }
      writeFileSync(join(dir, 'alone.vma'), archive)
      assert.equal((await outcome(join(dir, 'alone.vma'))).error, null)
    })
  }

  for (const name of ['gzip -c', 'zstd -c', 'lz4 -c']) {
    test(`${name}: frames of ours behind it, whole or cut, do not make it one that was cut`, {
      ...needs(...PROGRAMS),
      timeout,
    }, async () => {
      const ours = await made(name.split(' ')[0], true)
      const large = join(dir, 'large.raw')
      writeImage(large, 24 * MIB, { noise: 24 * MIB })
      const to = join(dir, 'large.vma')
      await backup({ drives: { d: large }, to, compress: 'none', force: true })
      const [program, ...args] = MADE[name]
      // Behind the larger one, the search for its end finds nothing but what is behind it.
      for (const archive of [await made(name, true), piped(program, args, readFileSync(to))])
        for (const length of [ours.length, ours.length >> 1, 2000, 100]) {
          const from = join(dir, 'behind.vma')
          writeFileSync(from, Buffer.concat([archive, ours.subarray(0, length)]))
          const { error } = await outcome(from)
          assert.equal(error, null, `${length} bytes: ${error?.line}`)
          assert.equal((await verify({ from })).behind?.offset, archive.length)
        }
    })
  }

  test('cost no random access either', { timeout }, async () => {
    for (const name of ['vma', 'zstd', 'lz4', 'gzip']) {
      const archive = await made(name, true)
      for (const [what, tail] of Object.entries(tails)) {
        const from = join(dir, 'behind.vma')
        writeFileSync(from, Buffer.concat([archive, tail(archive)]))
        const parts: Buffer[] = []
        const to = new Writable({
          write(bytes, _encoding, done) {
            parts.push(Buffer.from(bytes))
            done()
          },
        })
        await cat({ from, drive: 'd', to })
        assert.ok(Buffer.concat(parts).equals(image()), `${name}: ${what}`)
      }
    }
  })
})
