/** A guest of a job: its name, its folder at each place, and how it is reached. */

import { createHash } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import type { GuestEntry } from '../file/schema.ts'

export type GuestSource =
  | { kind: 'libvirt'; domain: string; connect: string | undefined }
  | { kind: 'qmp'; socket: string }
  | { kind: 'attach'; control: string }
  | { kind: 'proxmox'; id: number }
  | { kind: 'drives'; drives: Readonly<Record<string, string>> }

export interface Guest {
  /** It is in the record of each archive, so that the next backup finds its parent. */
  name: string
  source: GuestSource
  /** The entry of the job file that it comes from. */
  entry: GuestEntry
}

const LONGEST_NAME = 255

/** Throws FAILED for a name that cannot be that of a guest. Names come from hypervisors and folders, and may be anything. */
export function checkName(name: string): string {
  if (name !== '' && Buffer.byteLength(name) <= LONGEST_NAME && name.isWellFormed() && !name.includes('\0')) return name
  throw new VmapipeError('FAILED', `a guest has the name ${JSON.stringify(name.slice(0, 80))}, which cannot be used`, {
    hint: 'name it by an entry of its own: name: …',
  })
}

/** The longest name of a folder; a name of a file may have 255 bytes. */
const LONGEST_FOLDER = 160

/**
 * The name of a guest's folder at a place. Two guests never have the same one, and none leads out of the place: what is no letter, digit,
 * dot, dash or underscore is written as =XX for each of its bytes, and so are a dot and a dash at the beginning.
 */
export function guestFolder(name: string): string {
  const plain = [...Buffer.from(name)].map((byte, at) => {
    const char = String.fromCharCode(byte)
    return (at === 0 ? /[A-Za-z0-9_]/ : /[A-Za-z0-9._-]/).test(char) ? char : escaped(byte)
  })
  const folder = plain.join('')
  if (folder.length <= LONGEST_FOLDER) return folder
  // Two equals signs are in no other name.
  const whole = createHash('sha256').update(name).digest('hex').slice(0, 32)
  return `${folder.slice(0, LONGEST_FOLDER - 34).replace(/=[0-9A-F]?$/, '')}==${whole}`
}

/** The guest whose folder has this name; null if it is no guest's, or if its name is too long for a folder to tell. */
export function guestOfFolder(folder: string): string | null {
  const bytes = folder.replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  const name = Buffer.from(bytes, 'latin1').toString()
  return name !== '' && guestFolder(name) === folder ? name : null
}

function escaped(byte: number): string {
  return `=${byte.toString(16).toUpperCase().padStart(2, '0')}`
}

/** What makes two sources the same guest, whatever they are called. */
export function sourceKey(source: GuestSource): string {
  switch (source.kind) {
    case 'libvirt':
      return `libvirt:${source.connect ?? ''}:${source.domain}`
    case 'qmp':
      return `qmp:${source.socket}`
    case 'attach':
      return `attach:${source.control}`
    case 'proxmox':
      return `proxmox:${source.id}`
    default:
      return `drives:${Object.entries(source.drives).flat().join('\0')}`
  }
}

/** The source for people and for hooks, such as "qmp:/run/vms/web.qmp". */
export function sourceText(source: GuestSource): string {
  return source.kind === 'drives' ? `drives ${Object.keys(source.drives).join(', ')}` : sourceKey(source)
}
