import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { record } from '../../../src/cli/progress/records.ts'
import { bottleneckLine, statsTable } from '../../../src/cli/progress/stats-table.ts'
import type { StageStats } from '../../../src/core/stats.ts'
import { tmpDir } from '../../support/tmp.ts'
import { vmapipe } from '../cli.ts'

const stage = (name: string, figures: Partial<StageStats>): StageStats => ({
  name,
  medium: null,
  items: 10,
  bytesIn: 0,
  bytesOut: 0,
  working: 0,
  waitingForInput: 0,
  waitingForNext: 0,
  held: 0,
  mostHeld: 0,
  ...figures,
})

test('the table has a line for each stage, and says which one held the run back', () => {
  const lines = statsTable({
    elapsed: 10,
    ended: true,
    stages: [
      stage('cluster-source', { medium: 'drives', bytesOut: 1 << 30, working: 1.2, waitingForNext: 8.8 }),
      stage('sink', { medium: 'ssh', bytesIn: 1 << 30, working: 8.1, waitingForInput: 1.9, mostHeld: 1 << 20 }),
    ],
    bottleneck: { stage: 'sink', medium: 'ssh', kind: 'target', share: 0.81 },
  })
  assert.deepEqual(lines, [
    'stage                    items  bytes in  bytes out    working  waits for input  waits for next  memory, at most',
    'cluster-source (drives)     10         -    1.0 GiB  1.2s  12%        0.0s   0%       8.8s  88%              0 B',
    'sink (ssh)                  10   1.0 GiB          -  8.1s  81%        1.9s  19%       0.0s   0%          1.0 MiB',
    'held back by the target: sink (ssh) took 81 % of the time',
  ])
  assert.match(
    bottleneckLine({ stage: 'compressor', medium: null, kind: 'processor', share: 0.956 }),
    /^held back by the processor: compressor took 96 % of the time$/,
  )
})

describe('vmapipe --stats', { timeout: 180_000 }, () => {
  /** Takes 16 MiB at about 16 MiB a second. */
  const SLOW = "exec:'while head -c 262144 | grep -q .; do sleep 0.015; done'".replaceAll("'", '')

  test('names a slow target after a backup', async (t) => {
    const folder = tmpDir(t)
    await writeFile(join(folder, 'disk.raw'), randomBytes(16 << 20))
    const args = ['backup', '-d', 'drive-scsi0=disk.raw', '-o', SLOW, '--compress', 'zstd', '--stats']
    const { code, stderr } = await vmapipe(args, { cwd: folder })
    assert.equal(code, 0, stderr)
    assert.match(stderr, /^INFO: .* compressor +\d+ +16\.0 MiB/m)
    assert.match(stderr, /held back by the target: sink \(a command\) took \d+ % of the time$/m)
  })

  test('is shown for a pipeline from a config, for verify and for restore, also with --progress none', async (t) => {
    const folder = tmpDir(t)
    await writeFile(join(folder, 'disk.raw'), randomBytes(4 << 20))
    const config = 'stages: [{cluster-source: {drives: {a: disk.raw}}}, vma-framer, {sink: {to: vm.vma}}]'
    await writeFile(join(folder, 'backup.yaml'), config)
    for (const args of [
      ['run', 'backup.yaml'],
      ['verify', 'vm.vma'],
      ['restore', 'vm.vma', 'out'],
    ]) {
      const { code, stderr } = await vmapipe([...args, '--stats', '--progress', 'none'], { cwd: folder })
      assert.equal(code, 0, stderr)
      assert.match(stderr, /^.*stage +items +bytes in .*\n(.*\n)+.*held back by /m)
    }
  })

  test('is in the records of --progress json without being asked for', async (t) => {
    const folder = tmpDir(t)
    await writeFile(join(folder, 'disk.raw'), randomBytes(16 << 20))
    const args = ['backup', '-d', 'a=disk.raw', '-o', SLOW, '--progress', 'json']
    const { code, stderr } = await vmapipe(args, { cwd: folder })
    assert.equal(code, 0, stderr)
    const records = stderr
      .trim()
      .split('\n')
      .map((line) => record.parse(JSON.parse(line)))
    const end = records.at(-1)
    assert.ok(end?.type === 'end')
    assert.deepEqual(
      end.stages.map(({ name }) => name),
      ['cluster-source', 'zero-elider', 'record', 'census', 'vma-framer', 'sink'],
    )
    assert.equal(end.bottleneck?.stage, 'sink')
    assert.ok(
      records.some((one) => one.type === 'progress' && one.stages.length > 0),
      'all along',
    )
  })

  test('is in the schema that vmapipe prints', async () => {
    const { stdout } = await vmapipe(['schema', 'progress'])
    assert.match(stdout.toString(), /"waitingForNext"/)
  })
})
