/**
 * The config of a guest of Proxmox, `/etc/pve/qemu-server/VMID.conf` or `qemu-server.conf` in an archive: one `key: value` a line,
 * notes as lines that begin with `#`, then sections of snapshots and of what is pending, which begin with `[name]`. It may be
 * somebody else's, so nothing of it is believed: what is not as Proxmox writes it is refused or has no effect.
 */

import { VmapipeError } from '../../core/errors.ts'

/** Its name in an archive, and that of the rules of the firewall. */
export const PROXMOX_CONFIG = 'qemu-server.conf'
export const PROXMOX_FIREWALL = 'qemu-server.fw'

/** Numbers of guests in Proxmox. */
export const LEAST_VMID = 100
export const GREATEST_VMID = 999_999_999

interface ConfigLine {
  /** The line without its end. */
  text: string
  /** Null in a note, a blank line or one that makes no sense. */
  key: string | null
  value: string
}

export interface ProxmoxConfig {
  /** The lines before the first section: the guest as it is. */
  lines: ConfigLine[]
  /** What is in these lines, by key. The last line of a key counts, as in Proxmox. */
  values: ReadonlyMap<string, string>
  /** Names of sections: snapshots, `PENDING`, `special:…`. */
  sections: string[]
}

const LINE = /^([a-z][a-z_-]*\d*):\s*(\S.*?)\s*$/
const SECTION = /^\[(.*)\]\s*$/

/** Reads a config. Throws USAGE for bytes that are no text. `file`: where it is from, for the error. */
export function parseProxmoxConfig(data: Uint8Array | string, file?: string): ProxmoxConfig {
  const text = typeof data === 'string' ? data : textIn(data, file)
  if (/[\x00-\x08\x0b\x0c\x0e-\x1f]/.test(text))
    throw new VmapipeError('USAGE', 'this is no config of a guest of Proxmox: it has control characters in it', {
      file,
    })
  const all = text.split('\n').map((line) => line.replace(/\r$/, ''))
  if (all.at(-1) === '') all.pop()
  const begin = all.findIndex((line) => SECTION.test(line))
  const own = begin < 0 ? all : all.slice(0, begin)
  const lines = own.map((line) => {
    const [, key = null, value = ''] = LINE.exec(line) ?? []
    return { text: line, key, value }
  })
  return {
    lines,
    values: new Map(lines.flatMap(({ key, value }) => (key === null ? [] : [[key, value] as const]))),
    sections: all.flatMap((line) => SECTION.exec(line)?.[1] ?? []),
  }
}

/** Whether Proxmox could have a guest of this number. */
export function isVmid(vmid: number): boolean {
  return Number.isInteger(vmid) && vmid >= LEAST_VMID && vmid <= GREATEST_VMID
}

/** Throws USAGE unless it is the number of a guest. */
export function refuseVmid(vmid: number): void {
  if (isVmid(vmid)) return
  throw new VmapipeError('USAGE', `${vmid} is no number of a guest of Proxmox`, {
    hint: `they are from ${LEAST_VMID} to ${GREATEST_VMID}`,
  })
}

function textIn(data: Uint8Array, file: string | undefined): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(data)
  } catch (cause) {
    throw new VmapipeError('USAGE', 'this is no config of a guest of Proxmox: it is not UTF-8', { file, cause })
  }
}
