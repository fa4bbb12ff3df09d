import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { source } from '../../src/stages/source.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { patchyImage } from '../access/made-archive.ts'
import { makeChain, states } from '../support/chain.ts'
import { collect } from '../support/flow.ts'
import { tmpDir } from '../support/tmp.ts'
import { startCli, vmapipe } from './cli.ts'

const C = 65536
const STATES = states(patchyImage(20 * C, 3), patchyImage(9 * C, 4)).slice(0, 3)

suite('a chain on the command line', { timeout: 400_000 }, () => {
  test('list shows it as a tree, and what each archive adds', async (t) => {
    const dir = tmpDir(t)
    const paths = await makeChain(dir, STATES, { method: 'zstd' })
    const { stdout, code } = await vmapipe(['list', paths[2]])
    const text = stdout.toString()
    assert.equal(code, 0)
    const lines = text.trimEnd().split('\n')
    const at = lines.indexOf('CHAIN:')
    assert.ok(at > 0, text)
    assert.match(lines[at - 1], /^PARENT: [0-9a-f-]{36} \w{3} Nov 15 22:13:20 2023$/)
    assert.match(lines[at + 1], /^full\.vma +2023-11-14T22:13:20\.000Z +full, [\d.]+ \w+ +drive-scsi0: \d+ clusters/)
    assert.match(lines[at + 2], /^└ night1\.vmi +2023-11-15T22:13:20\.000Z +adds [\d.]+ \w+ +drive-scsi0: \d+ clusters/)
    assert.match(lines[at + 3], /^ {2}└ night2\.vmi +2023-11-16T22:13:20\.000Z +adds /)
    const json = JSON.parse(String((await vmapipe(['list', '--json', paths[2]])).stdout))
    assert.equal(json.incremental, true)
    assert.deepEqual(
      json.chain.map(({ place, full }: { place: string; full: boolean }) => [place, full]),
      [
        [paths[0], true],
        [paths[1], false],
        [paths[2], false],
      ],
    )
    assert.equal(json.chain[0].uuid.length, 36)
    assert.ok(json.chain[1].drives.some(({ data }: { data: number }) => data > 0))
  })

  test('a repack that is killed leaves the chain as it was and no archive; the next one makes it', async (t) => {
    const dir = tmpDir(t)
    const large = states(patchyImage(600 * C, 3), patchyImage(9 * C, 4)).slice(0, 3)
    const paths = await makeChain(dir, large, { method: 'zstd' })
    const before = paths.map((path) => readFileSync(path))
    const made = join(dir, 'week.vma')
    const child = startCli(['repack', paths[2], '-o', made, '--bwlimit', '8MiB', '--quiet'])
    const partial = () => readdirSync(dir).find((name) => name.includes('week.vma'))
    while (partial() === undefined && child.exitCode === null) await setTimeout(20)
    child.kill('SIGKILL')
    await once(child, 'close')
    assert.ok(!existsSync(made), 'only a whole archive has the name')
    for (const [index, path] of paths.entries()) assert.ok(readFileSync(path).equals(before[index]))
    const { code, stderr } = await vmapipe(['repack', paths[2], '-o', made, '--quiet'])
    assert.equal(code, 0, stderr)
    for (const path of paths) rmSync(path)
    const { stdout } = await vmapipe(['cat', made, 'drive-scsi0'])
    assert.ok(stdout.equals(large[2]['drive-scsi0']))
  })

  test('a parent that is missing is one line and exit code 3, and --parents finds it', async (t) => {
    const dir = tmpDir(t)
    const [full, one] = await makeChain(dir, STATES.slice(0, 2), { method: 'zstd' })
    mkdirSync(join(dir, 'old'))
    renameSync(full, join(dir, 'old', 'full'))
    for (const command of [
      ['cat', one, 'drive-scsi0'],
      ['partitions', one, 'drive-scsi0'],
      ['repack', one, '-o', join(dir, 'week.vma')],
    ]) {
      const { code, stderr, stdout } = await vmapipe(command)
      assert.equal(code, 3, `${command}: ${stderr}`)
      assert.equal(stdout.length, 0)
      assert.match(stderr, /the parent of '.*night1\.vmi' was not found/)
      assert.equal(stderr.trimEnd().split('\n').length, 1, stderr)
      const found = await vmapipe([...command, '--parents', join(dir, 'old')])
      assert.equal(found.code, 0, found.stderr)
    }
  })
})

suite('backup --in-order', { timeout: 60_000 }, () => {
  test('writes one drive after the other: a change in the first moves nothing of the second', async (t) => {
    const dir = tmpDir(t)
    const second = patchyImage(200 * C, 8)
    for (const size of [100, 150]) {
      writeFileSync(join(dir, 'a.raw'), patchyImage(size * C, 7))
      writeFileSync(join(dir, 'b.raw'), second)
      const to = join(dir, `${size}.vma`)
      const drives = ['-d', `a=${join(dir, 'a.raw')}`, '-d', `b=${join(dir, 'b.raw')}`]
      const { code, stderr } = await vmapipe(['backup', ...drives, '-o', to, '--in-order', '--quiet'])
      assert.equal(code, 0, stderr)
      const order = await clustersOf(to)
      const from = order.indexOf('2:0')
      assert.deepEqual(
        order.slice(from),
        Array.from({ length: 200 }, (_, cluster) => `2:${cluster}`),
      )
    }
  })

  test('of a running guest says what to do instead', async () => {
    const { code, stderr } = await vmapipe(['backup', '--attach', '/nowhere', '-o', 'x.vma', '--in-order'])
    assert.equal(code, 2)
    assert.match(
      stderr,
      /clusters out of order: its writes come first; leave --in-order out, and rewrite the archive: vmapipe repack/,
    )
  })
})

/** The clusters of an archive in its order, as DRIVE:CLUSTER. */
async function clustersOf(path: string): Promise<string[]> {
  const seen: Item[] = []
  await definePipeline([source({ from: path }), vmaDeframer({}), collect('clusters', seen)]).run()
  return seen.flatMap((item) =>
    item.kind === 'run' ? Array.from({ length: item.count }, (_, at) => `${item.drive}:${item.first + at}`) : [],
  )
}
