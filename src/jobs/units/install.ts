/** Installs the units of a job and removes them. A host without systemd gets a line for its crontab. */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { Job } from '../file/schema.ts'
import { toCron } from './cron.ts'
import { MARK, type Unit, unitNames, unitsOf } from './units.ts'

export interface InstallOptions {
  /** For the manager of this user instead of that of the system. */
  isUser?: boolean
  /** Replaces units that we have not written. */
  force?: boolean
  /** Node and our launcher; those that run now by default. */
  program?: readonly [node: string, launcher: string]
  /** The folder of the units. */
  folder?: string
}

export type Installed = { kind: 'units'; files: string[]; timer: string | null } | { kind: 'crontab'; lines: string[] }

/** Whether systemd runs this host (sd_booted(3)). */
export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system')
}

/** The units, without installing them. Errors: CONFIG, USAGE. */
export async function planUnits(job: Job, { isUser = false, program }: InstallOptions = {}): Promise<Unit[]> {
  const { service, timer } = unitsOf(job, { isUser, program: program ?? (await ownProgram()) })
  return timer === null ? [service] : [service, timer]
}

/**
 * Writes service and timer, and enables the timer. Without systemd nothing is written, and the lines for a crontab are returned. Errors:
 * CONFIG for a schedule that systemd does not know, USAGE, FAILED.
 */
export async function installUnits(job: Job, options: InstallOptions = {}): Promise<Installed> {
  const { isUser = false, force = false, folder = unitFolder(isUser) } = options
  if (!hasSystemd()) return { kind: 'crontab', lines: await crontabLines(job, options) }
  const units = await planUnits(job, options)
  if (job.schedule === undefined)
    throw new VmapipeError('CONFIG', `the job '${job.name}' has no schedule`, {
      file: job.file,
      hint: 'add schedule: Mon..Sat 01:30',
    })
  await checkCalendar(units)
  await mkdir(folder, { recursive: true })
  for (const { name } of units) if (!force) await refuseForeign(join(folder, name))
  for (const { name, text } of units) await writeUnit(join(folder, name), text)
  const { timer } = unitNames(job.name)
  await systemctl(isUser, 'daemon-reload')
  await systemctl(isUser, 'enable', '--now', timer)
  return { kind: 'units', files: units.map(({ name }) => join(folder, name)), timer }
}

/** Disables the timer and removes the units; the names of the files that it has removed. A run that goes on is not ended. */
export async function uninstallUnits(
  name: string,
  { isUser = false, force = false, folder = unitFolder(isUser) }: InstallOptions = {},
) {
  const { service, timer } = unitNames(name)
  const files = [timer, service].map((unit) => join(folder, unit)).filter((file) => existsSync(file))
  if (files.length === 0) {
    throw new VmapipeError('USAGE', `the job '${name}' is not installed in ${folder}`, {
      hint: hasSystemd() ? 'systemctl list-timers tells what is' : 'remove its line from the crontab (crontab -e)',
    })
  }
  for (const file of files) if (!force) await refuseForeign(file)
  if (hasSystemd()) await systemctl(isUser, 'disable', '--now', timer)
  for (const file of files) await rm(file)
  if (hasSystemd()) await systemctl(isUser, 'daemon-reload')
  return files
}

/** For `crontab -e`: the fields of cron, and the command. In a crontab % ends the command. */
export async function crontabLines(job: Job, { program }: InstallOptions = {}): Promise<string[]> {
  if (job.schedule === undefined)
    throw new VmapipeError('CONFIG', `the job '${job.name}' has no schedule`, {
      file: job.file,
      hint: 'add schedule: 30 1 * * 1-6',
    })
  const words = [...(program ?? (await ownProgram())), 'job', 'run', job.file]
  const command = words.map(quoted).join(' ').replaceAll('%', '\\%')
  return job.schedule.map((one) => `${toCron(one)} ${command}`)
}

function quoted(text: string): string {
  return /^[\w./:@+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function unitFolder(isUser: boolean): string {
  if (!isUser) return '/etc/systemd/system'
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'systemd/user')
}

/** Node, and the launcher that has started us. */
async function ownProgram(): Promise<readonly [string, string]> {
  const launcher = await realpath(process.argv[1])
  if (/[/\\]_npx[/\\]/.test(launcher)) {
    throw new VmapipeError('USAGE', 'vmapipe was started by npx, which may remove it at any time', {
      hint: 'install it first: npm install --global vmapipe',
    })
  }
  return [process.execPath, launcher]
}

async function refuseForeign(file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => MARK)
  if (text.startsWith(MARK)) return
  throw new VmapipeError('USAGE', `'${file}' was not written by vmapipe`, { file, hint: 'give --force to replace it' })
}

async function writeUnit(file: string, text: string): Promise<void> {
  const partial = `${file}.partial`
  try {
    await writeFile(partial, text, { mode: 0o644 })
    await rename(partial, file)
  } catch (error) {
    await rm(partial, { force: true })
    throw asVmapipeError(error, { file })
  }
}

const run = promisify(execFile)
const SYSTEMCTL_MS = 60_000

async function systemctl(isUser: boolean, ...args: string[]): Promise<void> {
  const words = [...(isUser ? ['--user'] : []), ...args]
  await run('systemctl', words, { timeout: SYSTEMCTL_MS }).catch((error) => {
    throw new VmapipeError('FAILED', `systemctl ${words.join(' ')}: ${lastLine(error)}`, { cause: error })
  })
}

/** Systemd itself says whether it knows the times; where its tool is missing, the timer says so when it is enabled. */
async function checkCalendar(units: readonly Unit[]): Promise<void> {
  for (const [, calendar] of units.flatMap(({ text }) => [...text.matchAll(/^OnCalendar=(.*)$/gm)])) {
    await run('systemd-analyze', ['calendar', '--', calendar.replaceAll('%%', '%')], { timeout: SYSTEMCTL_MS }).catch(
      (error) => {
        if (error.code === 'ENOENT') return
        throw new VmapipeError('CONFIG', `'${calendar}' is no schedule of systemd: ${lastLine(error)}`, {
          hint: 'such as Mon..Sat 01:30; see systemd.time(7)',
        })
      },
    )
  }
}

function lastLine(error: { stderr?: string; message: string }): string {
  return (error.stderr?.trim() || error.message).split('\n')[0]
}
