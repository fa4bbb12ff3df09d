import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { archiveOf, type Hooks, patchyImage } from '../access/made-archive.ts'
import { tmpDir } from '../support/tmp.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }
const image = patchyImage(6_000_000)

async function archiveIn(t: Hooks, making: Parameters<typeof archiveOf>[1]): Promise<string> {
  const path = join(tmpDir(t), 'a.vma')
  writeFileSync(path, await archiveOf([image], making))
  return path
}

describe('vmapipe cat', limits, () => {
  test('writes a drive to standard output: a pipe, a file', async (t) => {
    const archive = await archiveIn(t, { method: 'zstd' })
    const { code, stdout } = await vmapipe(['cat', archive, 'drive-scsi0'])
    assert.equal(code, 0)
    assert.ok(stdout.equals(image))
    const file = `${archive}.raw`
    const shell = '"$0" "$1" cat "$2" drive-scsi0 --offset 1MiB --length 64KiB > "$3"'
    execFileSync('sh', ['-c', shell, process.execPath, LAUNCHER, archive, file], { timeout: 120_000 })
    assert.ok(readFileSync(file).equals(image.subarray(1 << 20, (1 << 20) + 65536)))
  })

  test('takes the archive from standard input', async (t) => {
    const archive = await archiveIn(t, { method: 'lz4' })
    const { code, stdout } = await vmapipe(['cat', '-', 'drive-scsi0', '--offset', '100'], {
      input: readFileSync(archive),
    })
    assert.equal(code, 0)
    assert.ok(stdout.equals(image.subarray(100)))
    const child = startCli(['cat', '-', 'drive-scsi0', '-q'])
    createReadStream(archive).pipe(child.stdin)
    child.stdout.resume()
    const [status] = await new Promise<[number]>((resolve) => child.once('close', (code) => resolve([code!])))
    assert.equal(status, 0)
  })

  test('ends without a word when nobody reads any more', async (t) => {
    const archive = await archiveIn(t, {})
    const shell = 'set -o pipefail; "$0" "$1" cat "$2" drive-scsi0 | head -c 3'
    const run = promisify(execFile)('bash', ['-c', shell, process.execPath, LAUNCHER, archive], {
      encoding: 'buffer',
      timeout: 120_000,
    })
    await assert.rejects(run, ({ code, stdout, stderr }: any) => {
      assert.deepEqual([code, stderr.toString()], [1, ''])
      assert.ok(stdout.equals(image.subarray(0, 3)))
      return true
    })
  })

  test('unpacks what cannot be read anywhere else, and says so first', async (t) => {
    const archive = await archiveIn(t, {})
    writeFileSync(archive, gzipSync(readFileSync(archive)))
    const { code, stdout, stderr } = await vmapipe(['cat', archive, 'drive-scsi0'])
    assert.equal(code, 0, stderr)
    assert.ok(stdout.equals(image))
    assert.match(stderr, /WARNING: .*it is unpacked into a temporary file in '.*' first, up to \d/)
  })

  test('says in one line what is wrong', async (t) => {
    const archive = await archiveIn(t, {})
    for (const [args, code, line] of [
      [[archive, 'y'], 2, /no drive 'y'/],
      [[archive, 'x', '--offset', 'much'], 2, /write it as 1MiB/],
      [['nowhere.vma', 'x'], 1, /no such file/],
    ] as const) {
      const outcome = await vmapipe(['cat', ...args])
      assert.equal(outcome.code, code)
      assert.match(oneLine(outcome), line)
    }
  })
})

describe('vmapipe index', limits, () => {
  test('writes an index, and says where', async (t) => {
    const archive = await archiveIn(t, { index: false, checksums: false })
    const { code, stdout } = await vmapipe(['index', archive])
    assert.equal(code, 0)
    assert.match(stdout.toString(), /a\.vma\.idx: \d+ extents, \d+ B\n$/)
    assert.ok(existsSync(`${archive}.idx`))
    assert.match(oneLine(await vmapipe(['index', archive])), /--force/)
  })

  test('says where there is one already', async (t) => {
    const archive = await archiveIn(t, {})
    assert.match((await vmapipe(['index', archive])).stdout.toString(), /has an index already, of \d+ extents/)
    assert.ok(!existsSync(`${archive}.idx`))
  })
})
