/**
 * The rule of names: .vma is a full archive, .vmi an incremental one, so that a folder shows what it has. A pipe, a command or a name
 * without such a suffix may carry either.
 */

import { VmapipeError } from '../../core/errors.ts'
import { vzdumpStem } from '../../machine/proxmox/archive-name.ts'
import { hasName } from '../../storage/archive/spec.ts'

const SUFFIX = /\.vm([ai])((?:\.(?:zst|lz4|gz))?(?:\.age)?)$/

/** Throws USAGE if the name says another kind of archive than the backup makes. `to` is the place of the archive. */
export function refuseOtherKind(to: unknown, since: string | undefined): void {
  if (typeof to !== 'string' || !hasName(to)) return
  const [, letter] = SUFFIX.exec(to) ?? []
  if (letter === 'i' && since === undefined) {
    throw new VmapipeError('USAGE', `the name '${to}' says that the archive is incremental`, {
      hint: 'say since when (--since PARENT, or --since auto), or name it .vma',
    })
  }
  if (letter === 'a' && since !== undefined) {
    const hint = since === 'auto' ? `; if it has to be a full one, it is named '${renamed(to, false)}'` : ''
    throw new VmapipeError('USAGE', `the name '${to}' says that the archive is a full one`, {
      hint: `name it '${renamed(to, true)}'${hint}`,
    })
  }
}

/** The place with the suffix of an incremental or a full archive; as it is if it has neither. */
export function renamed(to: string, isIncremental: boolean): string {
  return to.replace(SUFFIX, (_, __, rest: string) => `.vm${isIncremental ? 'i' : 'a'}${rest}`)
}

/** Whether the place is a folder for archives, which get names of their own. */
export function isFolder(to: string): boolean {
  return to.endsWith('/')
}

interface NameParts {
  guest: string
  ctime: number
  isIncremental: boolean
  /** Such as `zstd`, or null. */
  compression: string | null
  isEncrypted: boolean
}

const ENDINGS: Record<string, string> = { zstd: '.zst', lz4: '.lz4', gzip: '.gz' }

/** The name of an archive in a folder, such as `web01-2026-11-28T213500Z.vmi.zst`: the names of a guest's archives sort by their times. A guest of Proxmox gets a name of Proxmox's. */
export function nameInFolder({ guest, ctime, isIncremental, compression, isEncrypted }: NameParts): string {
  const ending = `${compression === null ? '' : (ENDINGS[compression] ?? '')}${isEncrypted ? '.age' : ''}`
  const suffix = `.vm${isIncremental ? 'i' : 'a'}${ending}`
  const [, vmid] = /^proxmox:([1-9]\d{2,8})$/.exec(guest) ?? []
  if (vmid !== undefined) return vzdumpStem({ vmid: Number(vmid), time: new Date(ctime * 1000) }) + suffix
  const plain = guest.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[.-]+|-+$/g, '') || 'guest'
  const time = new Date(ctime * 1000).toISOString().replace(/\.\d+/, '').replaceAll(':', '')
  return `${plain.slice(0, 100)}-${time}${suffix}`
}
