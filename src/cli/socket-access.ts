/** Who may connect to a socket: --socket-mode and --socket-group. */

import { readFileSync } from 'node:fs'
import { InvalidArgumentError } from 'commander'
import { VmapipeError } from '../core/errors.ts'
import type { SocketFileOptions } from '../protocol/socket-file.ts'

export interface SocketFlags {
  socketMode?: number
  socketGroup?: string
}

/** Throws USAGE for a group that there is not. */
export function socketAccess({ socketMode: mode, socketGroup: group }: SocketFlags): SocketFileOptions | undefined {
  if (mode === undefined && group === undefined) return undefined
  // A group that nobody of may connect would be of no use.
  const given = mode ?? 0o660
  return { mode: given, ...(group !== undefined && { group: groupId(group) }) }
}

/** Reads `0660`. The owner can always connect. */
export function socketMode(text: string): number {
  const mode = Number.parseInt(text, 8)
  if (!/^0?[0-7]{3}$/.test(text) || (mode & 0o600) !== 0o600)
    throw new InvalidArgumentError('write it as 0660: octal, and the owner may read and write')
  return mode
}

function groupId(group: string): number {
  if (/^\d{1,10}$/.test(group)) return Number(group)
  const lines = readFileSync('/etc/group', 'utf8').split('\n')
  const id = lines.map((line) => line.split(':')).find(([name]) => name === group)?.[2]
  if (id !== undefined) return Number(id)
  throw new VmapipeError('USAGE', `there is no group '${group}' in /etc/group`, {
    hint: 'give its number (getent group NAME) if it is kept elsewhere',
  })
}
