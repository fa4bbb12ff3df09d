/** The service and the timer of a job. */

import type { Job } from '../file/schema.ts'
import { isCron } from '../schedule.ts'
import { cronToCalendar } from './cron.ts'
import { type Running, sandbox } from './sandbox.ts'
import { command, plain, word } from './unit-values.ts'

export interface UnitOptions {
  /** Node and our launcher. */
  program: readonly [node: string, launcher: string]
  /** For the manager of a user. */
  isUser: boolean
}

export interface Unit {
  /** Such as "vmapipe-nightly.timer". */
  name: string
  text: string
}

/** The first line of what we write, by which we know it again. */
export const MARK = '# Written by `vmapipe job install`, which replaces it.'

const RANDOM_DELAY_MS = 300_000

/** Names of units have letters, digits and ":-_.\" (systemd.unit(5)): names of jobs have no others. */
export function unitNames(job: string): { service: string; timer: string } {
  return { service: `vmapipe-${job}.service`, timer: `vmapipe-${job}.timer` }
}

/** Null in the place of a timer if the job has no schedule. Throws CONFIG for what systemd cannot have. */
export function unitsOf(job: Job, options: UnitOptions): { service: Unit; timer: Unit | null } {
  const names = unitNames(job.name)
  const service = { name: names.service, text: lines(serviceText(job, options)) }
  if (job.schedule === undefined) return { service, timer: null }
  return { service, timer: { name: names.timer, text: lines(timerText(job, job.schedule)) } }
}

function serviceText(job: Job, { program, isUser }: UnitOptions): string[] {
  const { unit = {} } = job
  const running: Running = { files: [...program, job.file], isUser }
  const environment = Object.entries(unit.environment ?? {})
  return [
    MARK,
    '[Unit]',
    `Description=${plain(`Backup of guests: ${job.description?.split('\n')[0] ?? job.name} (vmapipe)`)}`,
    'Documentation=man:vmapipe-job(1)',
    ...(isUser
      ? []
      : ['Wants=network-online.target', 'After=network-online.target libvirtd.service virtqemud.service']),
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${command([...program, 'job', 'run', job.file])}`,
    ...(isUser || unit.user === undefined ? [] : [`User=${plain(unit.user)}`]),
    ...(isUser || unit.group === undefined ? [] : [`Group=${plain(unit.group)}`]),
    ...environment.map(([name, value]) => `Environment=${word(`${name}=${value}`)}`),
    ...(unit['environment-file'] === undefined ? [] : [`EnvironmentFile=${plain(unit['environment-file'])}`]),
    // Compiled code is kept there.
    'CacheDirectory=vmapipe',
    'Environment=XDG_CACHE_HOME=%C',
    'StateDirectory=vmapipe',
    'StateDirectoryMode=0700',
    // Sockets of `vmapipe serve` may be there too, which guests of others connect to.
    ...runtimeFolder(isUser ? undefined : unit.user),
    // Locks of jobs and guests outlast one service.
    'RuntimeDirectoryPreserve=yes',
    '# A run takes as long as it takes. It ends within 2 s of SIGTERM.',
    'TimeoutStartSec=infinity',
    'TimeoutStopSec=30s',
    'KillMode=mixed',
    'Nice=10',
    'IOSchedulingClass=best-effort',
    'IOSchedulingPriority=7',
    ...sandbox(job, running),
  ]
}

function runtimeFolder(user: string | undefined): string[] {
  if (user === undefined || user === 'root') return ['RuntimeDirectory=vmapipe', 'RuntimeDirectoryMode=0755']
  return [`RuntimeDirectory=${plain(`vmapipe-${user}`)}`, `Environment=${word(`XDG_RUNTIME_DIR=/run/vmapipe-${user}`)}`]
}

function timerText(job: Job, schedule: readonly string[]): string[] {
  const delay = Math.round((job.unit?.['random-delay'] ?? RANDOM_DELAY_MS) / 1000)
  return [
    MARK,
    '[Unit]',
    `Description=${plain(`When the guests of ${job.name} are backed up (vmapipe)`)}`,
    'Documentation=man:vmapipe-job(1)',
    '',
    '[Timer]',
    ...schedule.flatMap((one) => (isCron(one) ? cronToCalendar(one) : [one])).map((one) => `OnCalendar=${plain(one)}`),
    '# A run that was missed, as the host was off, is made up.',
    'Persistent=true',
    `RandomizedDelaySec=${delay}s`,
    'AccuracySec=1min',
    '',
    '[Install]',
    'WantedBy=timers.target',
  ]
}

function lines(text: readonly string[]): string {
  return `${text.join('\n')}\n`
}
