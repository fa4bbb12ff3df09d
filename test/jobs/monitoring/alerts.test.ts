import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { metricsText } from '../../../src/jobs/metrics.ts'
import type { RunReport } from '../../../src/jobs/report.ts'
import type { GuestState } from '../../../src/jobs/state/job-state.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const folder = join(import.meta.dirname, '../../../src/jobs/monitoring')
const ALERTS = join(folder, 'alerts.yml')

const report: RunReport = {
  ...{ version: 1, job: 'nightly', run: 'r1', host: 'node1', outcome: 'some', removed: [] },
  ...{ started: '2026-11-29T01:30:00.000Z', ended: '2026-11-29T02:00:00.000Z', next: '2026-11-30T01:30:00.000Z' },
  guests: [
    { guest: 'web', outcome: 'done', attempts: 1, places: ['/a'], longestWait: 12, warnings: [] },
    { guest: 'odd"\n\\name', outcome: 'failed', attempts: 3, places: [], warnings: [] },
  ],
}
const state: GuestState = {
  ...{ name: 'web', success: '2026-11-29T01:45:00.000Z', booted: null },
  ...{ full: 1000, size: 5000, seconds: 12.5, stored: 900 },
}
const archive = {
  ...{
    place: '/srv/web/a.vma',
    name: 'a.vma',
    guest: 'web',
    uuid: 'u',
    ctime: 1_790_000_000,
    kind: 'full' as const,
    parent: null,
  },
  ...{ size: 900, written: null, encrypted: false, protected: false, notes: null, checks: [] },
}

function text(): Promise<string> {
  return metricsText(report, new Map([['web', state]]), [{ place: '/srv', guest: 'web', archives: [archive] }])
}

describe('the metrics of a job', () => {
  test('are what promtool takes, with names of guests that have any characters', needs('promtool'), async () => {
    const lines = await text()
    execFileSync('promtool', ['check', 'metrics'], { input: lines, stdio: ['pipe', 'pipe', 'pipe'] })
    assert.match(lines, /^vmapipe_job_guest_last_success_timestamp_seconds\{job="nightly",guest="web"\} 1795916700$/m)
    assert.match(
      lines,
      /^vmapipe_job_guest_last_success_timestamp_seconds\{job="nightly",guest="odd\\"\\n\\\\name"\} 0$/m,
    )
    assert.match(lines, /^vmapipe_job_guest_longest_wait_seconds\{job="nightly",guest="web"\} 0\.012$/m)
    assert.match(lines, /^vmapipe_job_oldest_unverified_timestamp_seconds\{job="nightly",place="\/srv"\} 1790000000$/m)
    assert.match(lines, /^vmapipe_job_last_run_outcome\{job="nightly",outcome="some"\} 1$/m)
  })

  test('are those that the alerts and the dashboard ask for', async () => {
    const known = new Set([...(await text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
    for (const file of ['alerts.yml', 'grafana.json']) {
      const asked = readFileSync(join(folder, file), 'utf8').match(/vmapipe_job_[a-z_]+/g)!
      assert.deepEqual(
        [...new Set(asked)].filter((name) => !known.has(name)),
        [],
        file,
      )
    }
    const told = readFileSync(join(folder, 'README.md'), 'utf8')
    for (const name of known) assert.ok(told.includes(name.replace('vmapipe_job_', '')), `${name} is in the README`)
  })
})

describe('the alerts', () => {
  test('are rules that promtool takes', needs('promtool'), () => {
    execFileSync('promtool', ['check', 'rules', ALERTS], { stdio: 'pipe' })
  })

  test(
    'come when a guest has no backup for two days, and when a run has failed; not before',
    needs('promtool'),
    (t) => {
      const dir = tmpDir(t)
      const series = (name: string, labels: string, values: string) => ({
        series: `vmapipe_job_${name}{${labels}}`,
        values,
      })
      const tests = {
        rule_files: [ALERTS],
        evaluation_interval: '5m',
        tests: [
          {
            interval: '5m',
            // The clock of the test begins at 0: the backup is of its beginning.
            input_series: [
              series('guest_last_success_timestamp_seconds', 'guest="web",instance="node1"', '0x700'),
              series('last_run_outcome', 'outcome="some",instance="node1"', '0x130 1x600'),
            ],
            promql_expr_test: [
              {
                expr: 'count(ALERTS{alertname="VmapipeGuestNotBackedUp",alertstate="firing"}) or vector(0)',
                eval_time: '47h',
                exp_samples: [{ labels: '{}', value: 0 }],
              },
              {
                expr: 'count(ALERTS{alertname="VmapipeGuestNotBackedUp",alertstate="firing"}) or vector(0)',
                eval_time: '49h',
                exp_samples: [{ labels: '{}', value: 1 }],
              },
              {
                expr: 'count(ALERTS{alertname="VmapipeJobFailed",alertstate="firing"}) or vector(0)',
                eval_time: '9h',
                exp_samples: [{ labels: '{}', value: 0 }],
              },
              {
                expr: 'count(ALERTS{alertname="VmapipeJobFailed",alertstate="firing"}) or vector(0)',
                eval_time: '13h',
                exp_samples: [{ labels: '{}', value: 1 }],
              },
            ],
          },
        ],
      }
      const file = join(dir, 'tests.yml')
      writeFileSync(file, JSON.stringify(tests))
      execFileSync('promtool', ['test', 'rules', file], { stdio: 'pipe' })
    },
  )
})
