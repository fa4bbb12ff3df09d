/** `vmapipe verify --boot`: its flags, and what it shows. */

import { writeFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from '../core/duration.ts'
import { asVmapipeError, printable, VmapipeError } from '../core/errors.ts'
import { bytesFlag, type RunFlags } from './flags.ts'
import { type KeyFlags, keyringOf } from './keys.ts'
import { runOperation } from './run-operation.ts'
import { tell } from './text.ts'

export interface BootFlags {
  boot?: boolean
  consolePattern?: RegExp
  screenStill?: number
  timeLimit?: number
  memory?: number
  firmware?: 'bios' | 'uefi'
  diskBus?: 'ide' | 'sata' | 'scsi' | 'virtio' | 'nvme' | 'usb'
  accel?: 'auto' | 'kvm' | 'tcg'
  screen?: string
  scratch?: string
  scratchSize?: number
  /** False with --no-record. */
  record?: boolean
}

/** Adds --boot, and flags that are for it alone. */
export function bootFlags(command: Command): Command {
  return command
    .option('--boot', 'boot the guest from the archive, and see whether it comes up')
    .option('--console-pattern <regex>', 'with --boot: it is up when this is on its first serial console', pattern)
    .option(
      '--screen-still <time>',
      'with --boot: it is up when its screen was still for so long and answers a key; 30s by default, off: never',
      still,
    )
    .option('--time-limit <time>', 'with --boot: how long it may take; 5m by default', limit)
    .option(
      '--memory <size>',
      'with --boot: the most memory of the guest; 2GiB by default',
      bytesFlag('2GiB', 16 << 20),
    )
    .addOption(new Option('--firmware <kind>', 'with --boot: what the guest starts with').choices(['bios', 'uefi']))
    .addOption(
      new Option(
        '--disk-bus <bus>',
        'with --boot: the bus of drives of which the archive tells nothing; virtio by default',
      ).choices(['virtio', 'scsi', 'sata', 'ide', 'nvme', 'usb']),
    )
    .addOption(new Option('--accel <how>', 'with --boot: KVM, or emulation').choices(['auto', 'kvm', 'tcg']))
    .option('--screen <file>', 'with --boot: write the picture of the screen there too')
    .option('--scratch <dir>', 'with --boot: folder for what the guest writes; that for temporary files by default')
    .option('--scratch-size <size>', 'with --boot: how much it may write; 4GiB by default', bytesFlag('4GiB'))
    .option('--no-record', 'with --boot: keep the result not beside the archive')
}

/** Throws USAGE if a flag of --boot is given without it. */
export function refuseBootFlags({ boot, record, ...flags }: BootFlags): void {
  if (boot) return
  const names = {
    consolePattern: '--console-pattern',
    screenStill: '--screen-still',
    timeLimit: '--time-limit',
    memory: '--memory',
  }
  const more = {
    firmware: '--firmware',
    diskBus: '--disk-bus',
    accel: '--accel',
    screen: '--screen',
    scratch: '--scratch',
    scratchSize: '--scratch-size',
  }
  const all: Record<string, string> = { ...names, ...more }
  const given = Object.keys(all).find((name) => flags[name as keyof typeof flags] !== undefined)
  const name = given === undefined ? record === false && '--no-record' : all[given]
  if (name) throw new VmapipeError('USAGE', `${name} is for --boot`, { hint: 'add --boot' })
}

interface Flags extends BootFlags, RunFlags, KeyFlags {
  json?: boolean
  parents?: string[]
}

/** Boots the guest. The exit code is 3 if it does not come up. */
export async function verifyBoot(from: string, flags: Flags): Promise<void> {
  const { consolePattern, screenStill, timeLimit, record = true, parents, identity, passphraseFd, screen: file } = flags
  const { memory, firmware, diskBus: bus, accel, scratch, scratchSize } = flags
  const keys = await keyringOf({ identity, passphraseFd })
  const machine = { memory, firmware, bus, accel, scratch, scratchSize, pattern: consolePattern }
  const { check, screen } = await runOperation('boot', flags, ({ signal, warn, inform, buffer }) => {
    const options = {
      from,
      parents,
      keys,
      ...machine,
      limit: timeLimit,
      still: screenStill,
      signal,
      warn,
      inform,
      buffer,
    }
    return record ? recorded(options) : unrecorded(options)
  })
  if (file !== undefined && screen !== null) {
    await writeFile(file, screen, { mode: 0o600 }).catch((error) => {
      throw asVmapipeError(error, { file })
    })
  }
  if (flags.json) tell(JSON.stringify({ archive: from, ...check }, null, 2))
  else if (check.passed && !flags.quiet) tell(`the guest boots: ${printable(check.detail ?? '')}`)
  if (check.passed) return
  throw new VmapipeError('DAMAGED', `the guest does not boot: ${check.detail}`, {
    hint: (file ?? check.file) ? `its screen is in ${file ?? check.file}` : 'add --screen FILE to see its screen',
  })
}

type Options = Parameters<typeof import('../operations/boot/boot-archive.ts').bootArchive>[0]

async function recorded(options: Options) {
  const { checkBoot } = await import('../catalog/boot-check.ts')
  return checkBoot(options)
}

async function unrecorded(options: Options) {
  const { bootArchive } = await import('../operations/boot/boot-archive.ts')
  const { screen, ...check } = await bootArchive(options)
  return { check: { kind: 'boot' as const, file: undefined, ...check }, screen }
}

/** The guest sends lines of any kind to a pattern: one that takes ages for some of them is the user's to avoid. */
function pattern(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch (error) {
    throw new InvalidArgumentError(`it is no regular expression: ${(error as Error).message}`)
  }
}

function still(text: string): number {
  if (text === 'off') return 0
  return time(text, 2000, 600_000, 'write it as 30s, from 2s to 10m, or off')
}

function limit(text: string): number {
  return time(text, 1000, 4 * 3_600_000, 'write it as 5m, from 1s to 240m')
}

function time(text: string, least: number, most: number, form: string): number {
  const value = parseDuration(text)
  if (value === undefined || value < least || value > most) throw new InvalidArgumentError(form)
  return value
}
