/** The QEMU of this host, and the user that it runs as. */

import { readFileSync, statSync } from 'node:fs'
import { VmapipeError } from '../../core/errors.ts'
import { findProgram } from '../../system/child.ts'

/** Names of distributions: Debian and most others, RHEL, Arch. */
const PROGRAMS = ['qemu-system-x86_64', '/usr/libexec/qemu-kvm', '/usr/bin/kvm']

/** Throws FAILED if there is none. */
export function findQemu(): string {
  const found = PROGRAMS.map((name) => findProgram(name)).find((path) => path !== undefined)
  if (found !== undefined) return found
  throw new VmapipeError('FAILED', 'there is no QEMU on this host that could boot the guest', {
    hint: 'install qemu-system-x86 (Debian, Ubuntu), qemu-kvm (Fedora, RHEL, SUSE) or qemu-system-x86 (Arch)',
  })
}

export interface LimitedUser {
  uid: number
  gid: number
  /** Further groups: that of /dev/kvm. */
  groups: number[]
}

/** The user `nobody`, if we are root: what comes out of a hostile guest is then nobody. Null if we are not root. */
export function limitedUser(): LimitedUser | null {
  if (process.getuid?.() !== 0) return null
  const [, , uid, gid] = /^nobody:.*$/m.exec(readFileSync('/etc/passwd', 'utf8'))?.[0].split(':') ?? []
  if (uid === undefined) {
    throw new VmapipeError('FAILED', 'this host has no user nobody, and QEMU is not started as root', {
      hint: 'run this as a user without rights',
    })
  }
  return { uid: Number(uid), gid: Number(gid), groups: kvmGroup() }
}

function kvmGroup(): number[] {
  const stats = statSync('/dev/kvm', { throwIfNoEntry: false })
  return stats === undefined || stats.gid === 0 ? [] : [stats.gid]
}

/**
 * The command that starts a program as this user, without any rights of root, and with the signal at our end. (Spawning sets that
 * signal too, but it is lost when the user changes.)
 */
export function commandAs(user: LimitedUser | null, program: string, args: readonly string[]): [string, string[]] {
  if (findProgram('setpriv') === undefined) {
    if (user === null) return [program, [...args]]
    throw new VmapipeError('FAILED', 'QEMU is not started as root, and there is no setpriv', {
      hint: 'install util-linux',
    })
  }
  const rights = ['--no-new-privs', '--pdeathsig', 'KILL']
  const groups = user?.groups.length ? ['--groups', user.groups.join(',')] : ['--clear-groups']
  const identity =
    user === null
      ? []
      : [
          '--reuid',
          String(user.uid),
          '--regid',
          String(user.gid),
          ...groups,
          '--inh-caps',
          '-all',
          '--bounding-set',
          '-all',
        ]
  return ['setpriv', [...identity, ...rights, '--', program, ...args]]
}
