/** `vmapipe restore --libvirt`, `--define`: the guest of an archive becomes a domain of libvirt. */

import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import type { JobFlags } from '../flags.ts'
import { type KeyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { restoreSummary } from '../summary.ts'

export interface DomainFlags {
  libvirt?: string
  define?: boolean
  connect?: string
  pool?: string
  format?: string
  newName?: string
  newUuid?: boolean | string
  newMac?: boolean
  start?: boolean
}

const FLAGS = ['connect', 'pool', 'format', 'newName', 'newUuid', 'newMac', 'start'] as const

export function domainFlags(command: Command): Command {
  return command
    .option('--libvirt <name>', 'restore the guest whole, as the domain NAME of libvirt; see below')
    .option('--define', 'the same under the name that it has in the archive')
    .option('--connect <uri>', "with --libvirt, --define: the URI of libvirt; virsh's own choice by default")
    .option('--pool <pool>', 'with --libvirt, --define: the storage pool for the images, if no DIR is given; default')
    .option('--format <format>', 'with --libvirt, --define: raw, qcow2 … for all images; by default what each had')
    .option('--new-name <name>', 'with --define: another name, for a copy beside the original')
    .option('--new-uuid [uuid]', 'with --libvirt, --define: another uuid, a random one if none is given')
    .option('--new-mac', 'with --libvirt, --define: new MAC addresses')
    .option('--start', 'with --libvirt, --define: start the guest')
}

export const DOMAIN_HELP =
  'With --libvirt NAME or --define the archive must be of a guest of libvirt (domain.xml). Its images, the variables of UEFI and the ' +
  "TPM's state are put in place, and the domain is defined: all of it, or nothing. What its XML names of a host (devices, files, programs) " +
  'is left out, with a warning. A domain of the same name and uuid is replaced only with --force, and only if it is shut off; its former ' +
  'images are kept.'

/** Throws USAGE for flags that need --libvirt or --define. */
export function wantsDomain(flags: DomainFlags): boolean {
  const { libvirt, define = false, newName } = flags
  if (libvirt !== undefined && newName !== undefined)
    throw new VmapipeError('USAGE', '--libvirt and --new-name are two names for the domain', {
      hint: 'give one of them',
    })
  if (libvirt !== undefined || define) return true
  const given = FLAGS.find((flag) => flags[flag] !== undefined)
  if (given === undefined) return false
  const flag = `--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  throw new VmapipeError('USAGE', `${flag} is for a guest of libvirt`, { hint: 'add --libvirt NAME or --define' })
}

type Flags = JobFlags & DomainFlags & KeyFlags & { force?: boolean; mode?: string; parents?: string[] }

/** `others` are flags that were given but have no meaning for a domain. */
export async function runDomain(
  from: string,
  into: string | undefined,
  flags: Flags,
  others: (string | false | undefined)[],
): Promise<void> {
  const refused = others.filter((flag) => typeof flag === 'string')
  if (refused.length > 0)
    throw new VmapipeError('USAGE', `${refused.join(' and ')} cannot be with --libvirt or --define`, {
      hint: 'a guest is restored whole',
    })
  const {
    libvirt,
    define: _,
    newName,
    identity,
    passphraseFd,
    force,
    mode,
    parents,
    bwlimit,
    connect,
    pool,
    format,
    newUuid,
    newMac,
    start,
    ...rest
  } = flags
  const keys = await keyringOf({ identity, passphraseFd })
  const { restoreDomain } = await import('../../operations/libvirt/restore-domain.ts')
  const name = libvirt ?? newName
  await runOperation(
    'restore',
    rest,
    (options) =>
      restoreDomain({
        ...options,
        from,
        into,
        name,
        force,
        mode,
        parents,
        bwlimit,
        keys,
        connect,
        pool,
        format,
        newUuid,
        newMac,
        start,
      }),
    ({ domain, ...result }, whole) => [
      ...restoreSummary(result, whole),
      `domain ${domain.name} (${domain.uuid})${domain.started ? ' runs' : ''}`,
    ],
  )
}
