/**
 * Reduces the config of somebody else's guest to what can do no harm on this host: `qmrestore`, which is run by root, takes all of it.
 * What is not known here to be harmless goes.
 */

import type { ProxmoxConfig } from './config.ts'
import { isDriveKey } from './drives.ts'
import { parseProperties } from './properties.ts'

const HARMLESS =
  /^(acpi|agent|arch|audio0|balloon|bios|boot|bootdisk|cipassword|citype|ciupgrade|ciuser|cores|cpu|cpulimit|cpuunits|description|efidisk0|freeze|hotplug|hugepages|ipconfig\d+|keephugepages|keyboard|kvm|localtime|machine|memory|meta|migrate_downtime|migrate_speed|name|nameserver|net\d+|numa|numa\d+|onboot|ostype|protection|reboot|scsihw|searchdomain|shares|smbios1|smp|sockets|sshkeys|startdate|startup|tablet|tags|tdf|template|tpmstate0|vcpus|vga|vmgenid|watchdog)$/

interface Reduced {
  config: ProxmoxConfig
  /** The lines that are left out. */
  removed: string[]
}

/** `kept`: keys of drives that the archive has. Others keep only what is no part of a host: CD-ROMs without a medium. */
export function reduceConfig(config: ProxmoxConfig, kept: readonly string[]): Reduced {
  const removed: string[] = []
  const last = new Map(config.lines.map((line) => [line.key, line]))
  const lines = config.lines.filter((line) => {
    const { key, value, text } = line
    // Notes stay; what is no line of a config at all goes, because Proxmox would refuse the whole.
    if (key === null) return text.startsWith('#') || text.trim() === ''
    // The last line of a key counts; the others could say anything.
    if (last.get(key) !== line) return false
    if (isHarmless(key, value, kept)) return true
    if (!/^(lock|parent|unused\d+)$/.test(key)) removed.push(text)
    return false
  })
  const values = new Map(lines.flatMap(({ key, value }) => (key === null ? [] : [[key, value] as const])))
  return { config: { lines, values, sections: [] }, removed }
}

function isHarmless(key: string, value: string, kept: readonly string[]): boolean {
  if (isDriveKey(key)) return kept.includes(key) || isWithoutHost(value)
  if (/^serial\d+$/.test(key)) return value === 'socket'
  if (key === 'rng0') return /^(source=)?\/dev\/u?random(,|$)/.test(value)
  return HARMLESS.test(key)
}

/** A drive without a file of a host: no medium, or one that Proxmox makes itself for cloud-init. */
function isWithoutHost(value: string): boolean {
  const { plain, named } = parseProperties(value)
  const volume = plain ?? named.get('file') ?? ''
  if (volume === 'none') return true
  return named.get('media') === 'cdrom' && /^[A-Za-z][\w.-]*:([\w.-]+\/)*vm-\d+-cloudinit(\.(raw|qcow2))?$/.test(volume)
}
