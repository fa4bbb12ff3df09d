/** `vmapipe job`: what is done every night, and how it went. */

import type { Command } from 'commander'
import { Option } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { parseBytes } from '../../core/size.ts'
import type { RunReport } from '../../jobs/report.ts'
import { collect, common, examples } from '../flags.ts'
import { installCommands } from '../job-install.ts'
import type { ProgressMode } from '../progress/make-display.ts'
import { PROGRESS_MODES } from '../progress/make-display.ts'
import { interruptible } from '../signals.ts'
import { print, tell } from '../text.ts'

export function jobCommand(program: Command): void {
  const job = program
    .command('job')
    .summary('back up many guests, every night')
    .description(
      'Backs up the guests of a job file within limits, checks the archives, removes old ones, and tells how it went.\n\n' +
        'JOB is a path, or the name of a file in /etc/vmapipe/jobs or ~/.config/vmapipe/jobs without its suffix. ' +
        '`vmapipe schema job` prints the JSON Schema of job files.',
    )
  examples(common(job), 'vmapipe job check nightly.yaml', 'vmapipe job run nightly', 'vmapipe job status nightly')
  runCommand(job)
  checkCommand(job)
  statusCommand(job)
  job
    .command('list')
    .summary('the jobs of this host')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const { listJobs } = await import('../job-views.ts')
      print(...(await listJobs(json ?? false)))
    })
  job
    .command('history')
    .summary('how the last runs went')
    .argument('<job>', 'the job')
    .option('-n, --last <n>', 'so many runs', (text) => Number.parseInt(text, 10), 10)
    .option('--json', 'the whole reports, as JSON')
    .action(async (given: string, { last, json }: { last: number; json?: boolean }) => {
      const { historyLines } = await import('../job-views.ts')
      print(...(await historyLines(given, last, json ?? false)))
    })
  controlCommands(job)
  installCommands(job)
}

interface RunFlags {
  guest?: string[]
  dryRun?: boolean
  full?: boolean
  now?: boolean
  json?: boolean
  progress: ProgressMode
  quiet?: boolean
}

function runCommand(job: Command): void {
  const command = job
    .command('run')
    .summary('run a job now')
    .description(
      'Runs a job once, and prints how it went.\n\nExit codes: 0 all guests have new archives, 3 some of them, 1 none, 2 the job file is wrong, 130 canceled.',
    )
    .argument('<job>', 'the job')
    .option('--guest <name>', 'this guest only; any number of times', collect)
    .option('--dry-run', 'show what would be done, and do nothing')
    .option('--full', 'full archives, whatever the job says')
    .option('--now', 'do not wait for the window of the job')
    .option('--json', 'print the report as JSON')
    .addOption(new Option('--progress <how>', 'how to show progress').choices(PROGRESS_MODES).default('auto'))
    .option('-q, --quiet', 'nothing but errors and the summary')
    .action(run)
  examples(common(command), 'vmapipe job run nightly.yaml --dry-run', 'vmapipe job run nightly --guest web01 --now')
}

async function run(given: string, { dryRun, json, guest, full, now, ...flags }: RunFlags): Promise<void> {
  const { findJob } = await import('../../jobs/file/find-job.ts')
  const { loadJob } = await import('../../jobs/file/load.ts')
  const job = await loadJob(await findJob(given))
  if (dryRun) {
    const { planLines } = await import('../job-plan.ts')
    print(...(await planLines(job, { guests: guest, full, json })))
    return
  }
  const { runJob } = await import('../../jobs/run-job.ts')
  const { nextRun } = await import('../../jobs/schedule.ts')
  const { makeJobLog } = await import('../job-log.ts')
  const log = makeJobLog(flags)
  const { signal, dispose } = interruptible({ close: () => log.close() })
  let report: RunReport
  try {
    report = await runJob(job, {
      ...{ signal, guests: guest, full, ignoreWindow: now },
      tell: true,
      onEvent: (event) => log.event(event),
      next: () => nextRun(job.schedule, Date.now()),
    })
  } finally {
    dispose()
    log.close()
  }
  const { summaryLines } = await import('../../jobs/summary.ts')
  tell(...(json ? [JSON.stringify(report, null, 2)] : summaryLines(report).map(printable)))
  const isCanceled = signal.aborted || report.guests.some(({ outcome }) => outcome === 'canceled')
  process.exitCode = isCanceled ? 130 : { all: 0, some: 3, none: 1 }[report.outcome]
}

function checkCommand(job: Command): void {
  const command = job
    .command('check')
    .summary('check a job before the night')
    .description(
      'Tells everything that can be known before a run: the guests that are found, whether the places can be written and have room, ' +
        'whether keys and credentials can be used, and when the job runs next.',
    )
    .argument('<job>', 'the job')
    .option('--test-notify', 'send a test to all who are told of runs')
    .option('--json', 'as JSON')
    .action(async (given: string, flags: { testNotify?: boolean; json?: boolean }) => {
      const { checkLines } = await import('../job-check.ts')
      await checkLines(given, flags)
    })
  examples(common(command), 'vmapipe job check nightly.yaml', 'vmapipe job check nightly --test-notify')
}

function statusCommand(job: Command): void {
  const command = job
    .command('status')
    .summary('how far a run is')
    .argument('[job]', 'the job; all of them by default')
    .option('--json', 'as JSON')
    .action(async (given: string | undefined, { json }: { json?: boolean }) => {
      const { statusLines } = await import('../job-views.ts')
      print(...(await statusLines(given, json ?? false)))
    })
  common(command)
}

function controlCommands(job: Command): void {
  job
    .command('cancel')
    .summary('end a run; its guests are free within two seconds')
    .argument('<job>', 'the job')
    .option('--guest <name>', 'only the backup of this guest; the run goes on')
    .action(async (given: string, { guest }: { guest?: string }) => {
      const { ask } = await import('../job-views.ts')
      if (guest !== undefined) {
        const { guests } = await ask(given, { ask: 'cancel', guest }, false)
        if (guests.some((one) => one.guest === guest)) return print(`the backup of '${printable(guest)}' is ended`)
        throw new VmapipeError('USAGE', `the run has no guest '${printable(guest)}'`)
      }
      const status = await ask(given, { ask: 'cancel' }, true)
      print(`the run ${status.run} of '${status.job}' has ended`)
    })
  job
    .command('limit')
    .summary('change the bandwidth of a run while it goes on')
    .argument('<job>', 'the job')
    .argument('<rate>', 'bytes a second of all guests together, such as 50MiB/s, or none')
    .action(async (given: string, rate: string) => {
      const bytes = rate === 'none' ? null : parseBytes(rate)
      if (bytes === undefined || bytes === 0)
        throw new VmapipeError('USAGE', `'${rate}' is no rate`, { hint: 'write it as 50MiB/s, or none' })
      const { ask } = await import('../job-views.ts')
      const status = await ask(given, { ask: 'rate', rate: bytes }, false)
      print(`the run ${status.run} of '${status.job}' is limited to ${rate}`)
    })
}
