/** `vmapipe job install` and `uninstall`: a job becomes a timer of systemd. */

import { basename } from 'node:path'
import type { Command } from 'commander'
import { common, examples } from './flags.ts'
import { print, tell } from './text.ts'

interface Flags {
  user?: boolean
  force?: boolean
  dryRun?: boolean
}

/** Adds the two commands to `job`. */
export function installCommands(job: Command): void {
  const install = job
    .command('install')
    .summary('run a job by its schedule')
    .description(
      'Writes a service and a timer of systemd for the job, and enables the timer. The service may do as little as the job allows; ' +
        'a run that was missed is made up. Call it again when the job file has another schedule, place, hook or limit.\n\n' +
        'On a host without systemd nothing is written, and a line for the crontab is printed.',
    )
    .argument('<job>', 'the job')
    .option('--user', "for your own user's manager instead of the system's")
    .option('--dry-run', 'print the units, and write nothing')
    .option('-f, --force', 'replace units that vmapipe has not written')
    .action(runInstall)
  examples(common(install), 'vmapipe job install nightly.yaml', 'vmapipe job install nightly --dry-run')
  const uninstall = job
    .command('uninstall')
    .summary('do not run a job by its schedule any more')
    .description('Disables the timer of a job and removes its units. A run that goes on is not ended; archives stay.')
    .argument('<job>', 'the job, or its name if the file is gone')
    .option('--user', "in your own user's manager")
    .option('-f, --force', 'remove units that vmapipe has not written')
    .action(runUninstall)
  examples(common(uninstall), 'vmapipe job uninstall nightly')
}

async function runInstall(
  given: string,
  { user: isUser = false, force = false, dryRun = false }: Flags,
): Promise<void> {
  const { findJob } = await import('../jobs/file/find-job.ts')
  const { loadJob } = await import('../jobs/file/load.ts')
  const { installUnits, planUnits } = await import('../jobs/units/install.ts')
  const job = await loadJob(await findJob(given))
  if (dryRun) {
    for (const { name, text } of await planUnits(job, { isUser })) print(`# ${name}`, text)
    return
  }
  const installed = await installUnits(job, { isUser, force })
  if (installed.kind === 'crontab') {
    process.stderr.write('this host has no systemd: add this to the crontab (crontab -e)\n')
    print(...installed.lines)
    return
  }
  tell(...installed.files.map((file) => `written: ${file}`), `enabled: ${installed.timer}`)
  const manager = isUser ? '--user ' : ''
  tell(
    `systemctl ${manager}list-timers ${installed.timer} tells when it runs, journalctl ${manager}-u ${installed.timer?.replace(/timer$/, 'service')} how it went`,
  )
}

async function runUninstall(given: string, { user: isUser = false, force = false }: Flags): Promise<void> {
  const { uninstallUnits } = await import('../jobs/units/install.ts')
  const name = basename(given).replace(/\.(ya?ml|json)$/, '')
  tell(...(await uninstallUnits(name, { isUser, force })).map((file) => `removed: ${file}`))
}
