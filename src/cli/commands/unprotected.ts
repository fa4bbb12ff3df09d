import type { Command } from 'commander'
import { printable } from '../../core/errors.ts'
import { common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { listing, noteLine, tell } from '../text.ts'

export function unprotectedCommand(program: Command): void {
  const command = program
    .command('unprotected')
    .summary('list guests and disks that no job backs up')
    .description(
      'Lists the guests of this host that are in no job: those of libvirt and Proxmox, running or not, and QEMUs and disk servers that run. ' +
        'Then the drives that are not in the newest archive of their guest, and guests of jobs that have no archive yet.\n\n' +
        'Exit codes: 0 everything is backed up, 3 something is not.',
    )
    .argument('[jobs...]', 'jobs, by path or name; those in /etc/vmapipe/jobs and ~/.config/vmapipe/jobs by default')
    .option('--json', 'as JSON')
    .action(run)
  examples(common(command), 'vmapipe unprotected', 'vmapipe unprotected nightly.yaml --json')
}

async function run(given: string[], { json }: { json?: boolean }): Promise<void> {
  const { findJob, installedJobs } = await import('../../jobs/file/find-job.ts')
  const { loadJob } = await import('../../jobs/file/load.ts')
  const { unprotected } = await import('../../jobs/unprotected.ts')
  const files =
    given.length > 0
      ? await Promise.all(given.map((one) => findJob(one)))
      : (await installedJobs()).map(({ file }) => file)
  const jobs = await Promise.all(files.map((file) => loadJob(file)))
  const { signal, dispose } = interruptible()
  const { guests, disks, warnings } = await unprotected(jobs, signal).finally(dispose)
  for (const text of warnings) process.stderr.write(`${noteLine('warning', text)}\n`)
  const isAll = guests.length === 0 && disks.length === 0
  if (json) tell(JSON.stringify({ jobs: jobs.map(({ name }) => name), guests, disks, warnings }, null, 2))
  else {
    const lines = [
      ...guests.map(({ name, kind }) => `${name} (${kind}) is in no job`),
      ...disks.map(({ job, guest, drives, archive }) =>
        archive === null
          ? `${guest} (job ${job}) has no archive yet`
          : `${listing(drives)} of ${guest} (job ${job}) ${drives.length === 1 ? 'is' : 'are'} not in its newest archive, ${archive}`,
      ),
    ]
    tell(...(isAll ? ['every guest of this host is in a job, and every drive in an archive'] : lines.map(printable)))
  }
  if (!isAll) process.exitCode = 3
}
