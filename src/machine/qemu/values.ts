/**
 * What of a `Machine` goes into a command line of QEMU. It may come from somebody else's archive: a value is used if it is one of those
 * that QEMU is known to take, or has the harmless form of one. Everything else is left out, with a note.
 */

import { printable } from '../../core/errors.ts'
import type { Machine } from '../machine.ts'

const MiB = 1 << 20
/** As many processors as QEMU's boards take at most. */
const MOST_CPUS = 4096

/** Takes one line for the user about something that is left out or changed. */
export type Note = (text: string) => void

/** Quotes text for a shell, whatever it contains. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** Shows a value of the archive in a note. */
export function shown(value: string): string {
  return `'${printable(value.slice(0, 60))}'`
}

const BOARD = /^(pc|q35|microvm|pc-i440fx-\d{1,2}\.\d{1,2}|pc-q35-\d{1,2}\.\d{1,2})$/

/** The board. Names of distributions and of Proxmox become those of QEMU itself. */
export function boardOf({ type }: Pick<Machine, 'type'>, note: Note): string {
  const plain = type?.replace(/\+pve\d+$/, '')
  if (plain !== undefined && BOARD.test(plain)) return plain
  const board = /q35/.test(plain ?? '') ? 'q35' : 'pc'
  if (type !== undefined) note(`the machine type ${shown(type)} is not one of QEMU's own: ${board} is used`)
  return board
}

export function isQ35(board: string): boolean {
  return board === 'q35' || board.startsWith('pc-q35')
}

/** A model of a processor, for `-cpu`. */
export function cpuOf({ cpu }: Pick<Machine, 'cpu'>, note: Note): string {
  const model = cpu?.model
  // "host" needs KVM, and "max" is what there is with and without it.
  if (model === undefined || model === 'host' || model === 'host-passthrough') return 'max'
  if (/^[A-Za-z0-9][\w.-]{0,63}$/.test(model) && model !== 'help') return model
  note(`the processor ${shown(model)} is none of QEMU's: max is used`)
  return 'max'
}

/** For `-smp`: "2", or with the topology. */
export function processorsOf({ cpu }: Pick<Machine, 'cpu'>, note: Note): string {
  const { count, sockets, dies = 1, cores, threads = 1 } = cpu ?? {}
  const most = (sockets ?? 1) * dies * (cores ?? 1) * threads
  const cpus = count ?? most
  if (!isPossible(cpus)) {
    note(`${cpus} processors are not possible: 1 is used`)
    return '1'
  }
  if (sockets === undefined || cores === undefined || !isPossible(most) || most < cpus) return String(cpus)
  const topology = [`sockets=${sockets}`, ...(dies > 1 ? [`dies=${dies}`] : []), `cores=${cores}`, `threads=${threads}`]
  return [String(cpus), ...(most > cpus ? [`maxcpus=${most}`] : []), ...topology].join(',')
}

function isPossible(cpus: number): boolean {
  return cpus >= 1 && cpus <= MOST_CPUS
}

/** For `-m`: "512M". */
export function memoryOf({ memory }: Pick<Machine, 'memory'>, note: Note): string {
  if (memory !== undefined) return `${Math.max(1, Math.ceil(memory / MiB))}M`
  note('the archive does not say how much memory the guest had: it gets 1024M')
  return '1024M'
}

/** For `-name`; letters that have a meaning there become underscores. */
export function nameOf({ name = 'guest' }: Pick<Machine, 'name'>): string {
  return name.replace(/[^\p{L}\p{N} ._+@:-]/gu, '_').slice(0, 100)
}

/** Serial numbers as QEMU's disks take them; undefined if there is none, or it has other characters. */
export function serialOf(serial: string | undefined, drive: string, note: Note): string | undefined {
  if (serial === undefined) return undefined
  if (/^[\w.+: -]{1,64}$/.test(serial)) return serial
  note(`the serial number of ${shown(drive)} has characters that no disk has: it is left out`)
  return undefined
}
