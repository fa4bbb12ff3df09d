/** Shows what `vmapipe job check` finds. */

import { hostname } from 'node:os'
import { printable } from '../core/errors.ts'
import { checkWholeJob } from '../jobs/check.ts'
import { findJob } from '../jobs/file/find-job.ts'
import { loadJob } from '../jobs/file/load.ts'
import type { Job } from '../jobs/file/schema.ts'
import type { RunReport } from '../jobs/report.ts'
import { stateFolder } from '../jobs/state/folders.ts'
import { JobState } from '../jobs/state/job-state.ts'
import { interruptible } from './signals.ts'
import { styled, tell } from './text.ts'

export async function checkLines(
  given: string,
  { testNotify, json }: { testNotify?: boolean; json?: boolean },
): Promise<void> {
  const job = await loadJob(await findJob(given))
  const { signal, dispose } = interruptible()
  try {
    const state = new JobState(stateFolder(), job.name, () => {})
    const findings = await checkWholeJob(job, { state, signal, now: Date.now() })
    if (testNotify) findings.push(...(await sendTests(job)))
    const isGood = findings.every(({ level }) => level !== 'error')
    if (json) tell(JSON.stringify({ job: job.name, good: isGood, findings }, null, 2))
    else
      tell(
        ...findings.map(({ level, text }) => `${label(level)} ${printable(text)}`),
        `${job.file}: ${isGood ? 'good' : 'not good'}`,
      )
    process.exitCode = isGood ? 0 : 1
  } finally {
    dispose()
  }
}

function label(level: 'good' | 'warning' | 'error'): string {
  const [text, colour] = { good: ['ok     ', 'green'], warning: ['warning', 'yellow'], error: ['error  ', 'red'] }[
    level
  ]
  return styled(colour as 'green', text)
}

async function sendTests(job: Job): Promise<{ level: 'good' | 'error'; text: string }[]> {
  const { notify } = await import('../jobs/notify/notify.ts')
  const now = new Date().toISOString()
  const report: RunReport = {
    ...{ version: 1, job: job.name, run: 'test', host: hostname(), started: now, ended: now },
    ...{ outcome: 'all', guests: [], removed: [], next: null },
  }
  const told = await notify(job, 'test', report)
  return told.map(({ who, problem }) =>
    problem === undefined
      ? { level: 'good', text: `${who} was told` }
      : { level: 'error', text: `${who} could not be told: ${problem}` },
  )
}
