/** Guests of libvirt, running or shut off, by patterns of their names. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { VmapipeError } from '../../core/errors.ts'
import { environment, notInstalled, virshError } from '../../protocol/qmp/virsh-shell.ts'
import type { GuestEntry } from '../file/schema.ts'
import type { Guest } from './guest.ts'
import { isPattern, matchesAny } from './patterns.ts'

/** Milliseconds that virsh may take to list all guests. */
const LIST_MS = 30_000
const MOST_BYTES = 16 << 20

export async function libvirtGuests(
  entry: GuestEntry,
  connect: string | undefined,
  signal: AbortSignal,
): Promise<Guest[]> {
  const patterns = entry.libvirt!
  const names = await domainNames(connect, signal)
  // A guest that is named and not there is a guest that is not backed up: its backup fails, which is told.
  const missing = patterns.filter((pattern) => !isPattern(pattern) && !names.includes(pattern))
  return [...names.filter((name) => matchesAny(name, patterns)), ...missing].map((domain) => ({
    name: entry.name ?? domain,
    source: { kind: 'libvirt', domain, connect },
    entry,
  }))
}

/** The names of all guests, in order. `connect`: the URI of libvirt. Errors: FAILED, ABORTED. */
export async function domainNames(connect: string | undefined, signal: AbortSignal): Promise<string[]> {
  const options = { env: environment(connect), timeout: LIST_MS, maxBuffer: MOST_BYTES, signal }
  try {
    const { stdout } = await promisify(execFile)('virsh', ['-q', 'list', '--all', '--name'], options)
    return stdout
      .split('\n')
      .filter((name) => name.trim() !== '')
      .sort()
  } catch (error) {
    const {
      code,
      killed,
      stderr = '',
      message,
    } = error as NodeJS.ErrnoException & { killed?: boolean; stderr?: string }
    signal.throwIfAborted()
    if (code === 'ENOENT') throw notInstalled(error)
    if (killed)
      throw new VmapipeError('FAILED', `virsh has not listed the guests in ${LIST_MS / 1000} s`, { cause: error })
    throw virshError(stderr) ?? new VmapipeError('FAILED', `virsh: ${message.split('\n')[0]}`, { cause: error })
  }
}
