/** `vmapipe restore` into a folder with more than the drives, or with less: a script that boots the guest, or the config files alone. */

import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import type { JobFlags } from '../flags.ts'
import { type KeyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { restoreSummary } from '../summary.ts'
import { count, listing } from '../text.ts'

export interface FolderFlags {
  qemu?: boolean
  configsOnly?: boolean
}

interface Flags extends JobFlags, KeyFlags, FolderFlags {
  drive?: [string, string][]
  format?: string
  zeroed?: boolean
  force?: boolean
  mode?: string
  salvage?: boolean
  parents?: string[]
}

export function folderFlags(command: Command): Command {
  return command
    .option('--qemu', 'write DIR/run.sh too, which boots the guest again with a stock QEMU')
    .option('--configs-only', 'restore the config files alone, into DIR; only the header is read')
}

export const FOLDER_HELP =
  'With --qemu there is a script beside the images, DIR/run.sh: a draft to read and to change, made of what the archive ' +
  'says of the guest (guest.json). What cannot be as it was is named by warnings and in the script.'

export async function runFolder(from: string, into: string | undefined, flags: Flags): Promise<void> {
  const { qemu, configsOnly, drive, format, zeroed, force, mode, salvage, parents, bwlimit, ...rest } = flags
  const what = qemu ? '--qemu' : '--configs-only'
  const others = [
    qemu && configsOnly && '--configs-only',
    drive && '--drive',
    format && '--format',
    configsOnly && zeroed && '--zeroed',
    configsOnly && salvage && '--salvage',
  ].filter((flag) => typeof flag === 'string')
  if (into === undefined || others.length > 0) {
    const without = others.length > 0 ? `, without ${listing(others)}` : ''
    throw new VmapipeError('USAGE', `${what} restores into a folder${without}`, { hint: 'such as vm/' })
  }
  const { identity, passphraseFd, ...run } = rest
  const keys = await keyringOf({ ...(identity && { identity }), ...(passphraseFd !== undefined && { passphraseFd }) })
  if (configsOnly) {
    const { restoreConfigs } = await import('../../operations/restore-configs.ts')
    const summary = (names: string[]) => [`restored ${count(names.length, 'config file')}: ${listing(names)}`]
    await runOperation(
      'restore',
      run,
      (options) => restoreConfigs({ ...options, from, into, force, mode, keys }),
      summary,
    )
    return
  }
  const { restoreQemu } = await import('../../operations/restore-qemu.ts')
  await runOperation(
    'restore',
    run,
    (options) => restoreQemu({ ...options, from, into, zeroed, force, mode, salvage, parents, bwlimit, keys }),
    restoreSummary,
  )
}
