import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RunStats } from '../../../src/core/stats.ts'
import type { RunEvent } from '../../../src/jobs/run/events.ts'
import { LatencyTrace, type LatencyView } from '../../../src/jobs/run/latency.ts'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import { serve } from '../../live/serving.ts'
import { writeImage } from '../../support/image.ts'
import { startQemu } from '../../support/qemu.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { entries, nightly } from './nightly.ts'

const timeout = 120_000

interface Seen {
  stats: RunStats[]
  latency: LatencyView[]
  longest: number
}

/** Runs a job slowly, and collects what its guest's progress tells. */
async function watched(t: TestContext, guests: string, names: readonly string[] = []): Promise<Seen> {
  const night = nightly(t, names)
  const seen: Seen = { stats: [], latency: [], longest: 0 }
  const onEvent = (event: RunEvent) => {
    if (event.type !== 'guest') return
    const { stats, latency } = structuredClone(event.progress)
    if (stats) seen.stats.push(stats)
    if (latency) seen.latency.push(latency)
    seen.longest = Math.max(seen.longest, JSON.stringify(event.progress).length)
  }
  const listed = names.length > 0 ? entries(night, names) : guests
  const job = night.job(`guests:\n${listed}to: ${night.dir}/place\nlimits: { rate: 256KiB }\n`)
  const run = night.run(job, { onEvent })
  const report = await run.run()
  assert.equal(report.outcome, 'all', JSON.stringify(report))
  const [{ snapshot, stats, latency }] = run.status.guests
  assert.deepEqual([snapshot, stats, latency], [null, null, null], 'nothing runs any more')
  return seen
}

describe('what a run tells of its guests', () => {
  test('a backup of drives at rest tells its stages, and no latency', { timeout }, async (t) => {
    const { stats, latency, longest } = await watched(t, '', ['web'])
    assert.ok(stats.length > 0)
    const last = stats.at(-1)!
    assert.equal(last.stages[0].name, 'cluster-source')
    assert.ok(
      last.stages.some(({ name, medium }) => name === 'sink' && medium === 'a file'),
      JSON.stringify(last),
    )
    assert.ok(last.stages[0].bytesOut > 0)
    assert.equal(last.bottleneck?.kind, 'limit')
    assert.deepEqual(latency, [])
    assert.ok(longest < 8000, `${longest} characters`)
  })

  test('a guest of vmapipe serve: how long its writes took before and meanwhile', { timeout }, async (t) => {
    const disk = join(tmpDir(t), 'disk.raw')
    writeImage(disk, 2 << 20, { noise: 900_000 })
    const serving = await serve(t, { 'drive-scsi0': disk })
    const client = await NbdClient.connect({ socketPath: serving.socket, exportName: 'drive-scsi0' })
    t.after(() => client.close())
    const end = new AbortController()
    const writes = writeOn((at) => client.write([Buffer.alloc(4096, at)], (at % 400) * 4096), end.signal)
    await sleep(200)
    const { latency } = await watched(t, `  - { attach: ${serving.control}, name: served }\n`)
    end.abort()
    const count = await writes
    const { nbd } = await serving.status()
    assert.equal(nbd.timedWrites, count)
    assertLatency(latency)
  })

  test('a guest of a stock QEMU, by its own counters', { timeout, ...needs('qemu-system-x86_64') }, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, 2 << 20, { noise: 900_000 })
    const own = join(dir, 'own')
    const { qmp } = await startQemu(t, [
      ...['-drive', `file=${disk},format=raw,if=none,id=drive0,cache=writeback`],
      ...['-device', 'virtio-blk-pci,drive=drive0,id=disk0'],
      ...['-qmp', `unix:${own},server=on,wait=off`],
    ])
    const monitor = await QmpClient.connect(own)
    t.after(() => monitor.close())
    const end = new AbortController()
    const line = (at: number) => ({ 'command-line': `qemu-io drive0 "aio_write -q ${(at % 400) * 4}k 4k"` })
    const writes = writeOn((at) => monitor.execute('human-monitor-command', line(at)), end.signal)
    await sleep(200)
    const { latency } = await watched(t, `  - { qmp: ${qmp}, name: stock }\n`)
    end.abort()
    await writes
    assertLatency(latency)
  })
})

/** Writes again and again, like a guest. Resolves with how often. */
async function writeOn(write: (at: number) => Promise<unknown>, end: AbortSignal): Promise<number> {
  let at = 0
  for (; !end.aborted; await sleep(5)) await write(at++)
  return at
}

function assertLatency(seen: LatencyView[]): void {
  const last = seen.at(-1)
  assert.ok(last !== undefined, 'latency was told')
  assert.ok(last.before !== null && last.before > 0, JSON.stringify(last))
  const during = last.points.filter(([at]) => at > 0)
  assert.ok(during.length > 0, JSON.stringify(last))
  assert.ok(last.points.every(([, ms]) => ms > 0))
  assert.deepEqual(
    last.points.map(([at]) => at),
    last.points.map(([at]) => at).toSorted((a, b) => a - b),
  )
}

describe('a line of latencies', () => {
  test('has few points however long the backup goes on, and keeps the mean', () => {
    const trace = new LatencyTrace()
    let writes = 0
    let milliseconds = 0
    const add = (second: number, count: number, each: number) => {
      writes += count
      milliseconds += count * each
      trace.add({ writes, milliseconds }, second * 1000)
    }
    add(-3, 0, 0)
    add(-2, 100, 1)
    add(-1, 100, 3)
    trace.begin(0)
    for (let second = 1; second <= 36_000; second++) add(second, 10, second <= 18_000 ? 5 : 7)
    const { before, points } = trace.view!
    assert.equal(before, 2)
    assert.deepEqual(points.slice(0, 2), [
      [-2, 1],
      [-1, 3],
    ])
    assert.ok(points.length <= 130 && points.length > 50, `${points.length} points`)
    assert.ok(JSON.stringify(points).length < 3000)
    assert.deepEqual([points[2][1], points.at(-1)], [5, [36_000, 7]])
    const steps = points.slice(3).map(([at], index) => at - points[index + 2][0])
    assert.ok(Math.max(...steps) <= 3 * Math.min(...steps.slice(0, -1)), `steps are even: ${steps}`)
  })

  test('the mean since the guest was started counts if it did not write just before', () => {
    const trace = new LatencyTrace()
    trace.add({ writes: 1000, milliseconds: 4000 }, 0)
    trace.add({ writes: 1001, milliseconds: 4900 }, 1000)
    assert.equal(trace.view!.before, 4)
  })

  test('what is counted anew makes no point, and neither does a time without writes', () => {
    const trace = new LatencyTrace()
    assert.equal(trace.view, null)
    trace.begin(0)
    for (const [at, writes] of [
      [1000, 50],
      [2000, 50],
      [3000, 10],
      [4000, 20],
    ])
      trace.add({ writes, milliseconds: writes * 2 }, at)
    assert.deepEqual(trace.view, { before: 2, points: [[4, 2]] })
  })
})
