/** Lists of properties as values of a config: `local-lvm:vm-100-disk-0,iothread=1,size=32G`. The first may be without its name. */

export interface Properties {
  /** The value that has no name; null if all have one. */
  plain: string | null
  /** In the order of the text. */
  named: ReadonlyMap<string, string>
}

export function parseProperties(text: string): Properties {
  let plain: string | null = null
  const named = new Map<string, string>()
  for (const part of text.split(',')) {
    const at = part.indexOf('=')
    if (at > 0) named.set(part.slice(0, at).trim(), part.slice(at + 1).trim())
    else if (part.trim() !== '') plain ??= part.trim()
  }
  return { plain, named }
}

/** Whether a property that is yes or no says no, in one of Proxmox's ways. */
export function isOff(value: string | undefined): boolean {
  return value !== undefined && /^(0|no|off|false)$/i.test(value)
}

/** `false` also for a property that is not there. */
export function isOn(value: string | undefined): boolean {
  return value !== undefined && /^(1|yes|on|true)$/i.test(value)
}
