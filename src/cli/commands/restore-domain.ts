/** `vmapipe restore --libvirt`, `--define`: the guest of an archive becomes a domain of libvirt. */

import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { JobFlags } from '../flags.ts'
import { type KeyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { speaker } from '../serving.ts'
import { interruptible } from '../signals.ts'
import { restoreSummary } from '../summary.ts'
import { noteLine } from '../text.ts'
import type { LiveFlags } from './restore-live.ts'

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

const FLAGS = ['connect', 'pool', 'newName', 'newUuid', 'newMac', 'start'] as const

export function domainFlags(command: Command): Command {
  return command
    .option('--libvirt <name>', 'restore the guest whole, as the domain NAME of libvirt; see below')
    .option('--define', 'the same under the name that it has in the archive')
    .option('--connect <uri>', "with --libvirt, --define: the URI of libvirt; virsh's own choice by default")
    .option('--pool <pool>', 'with --libvirt, --define: the storage pool for the images, if no DIR is given; default')
    .option(
      '--format <format>',
      'raw, qcow2 … for all images in a folder or pool; by default what each had, as far as the archive says it',
    )
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
  const { restoreDomain } = await import('../../operations/restore-domain.ts')
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

/** How often the progress is shown, in percent. */
const STEP = 10

/** `restore --live --libvirt`: the guest runs at once, and the command ends when its images have everything. */
export async function runLiveDomain(
  from: string,
  into: string | undefined,
  flags: Flags & LiveFlags,
  others: (string | false | undefined)[],
): Promise<void> {
  const { libvirt, newName, format, listen, control, readyFd, mode, threads } = flags
  if (format !== undefined && format !== 'qcow2')
    throw new VmapipeError('USAGE', 'the images of a live restore of a domain are qcow2', {
      hint: 'leave --format out, or restore without --live',
    })
  const given: [unknown, string][] = [
    ...[
      [listen, '--listen'],
      [control, '--control'],
      [readyFd, '--ready-fd'],
      [mode, '--mode'],
      [threads, '--threads'],
    ],
  ] as [unknown, string][]
  const refused = [
    ...others.filter((flag) => typeof flag === 'string'),
    ...given.flatMap(([value, flag]) => (value === undefined ? [] : [flag])),
  ]
  if (refused.length > 0)
    throw new VmapipeError('USAGE', `${refused.join(' and ')} cannot be with --live --libvirt`, {
      hint: 'leave it out',
    })
  const { connect, pool, newUuid, newMac, force, buffer, bwlimit, parents, spool, socket } = flags
  const keys = await keyringOf(flags)
  const say = speaker(flags)
  const { restoreDomainLive } = await import('../../operations/libvirt/live-domain.ts')
  const progress = { done: 0, total: 0, told: 0 }
  const { signal, dispose } = interruptible({
    tell: () => void process.stderr.write(`restored ${formatBytes(progress.done)} of ${formatBytes(progress.total)}\n`),
  })
  try {
    const { name, uuid, files } = await restoreDomainLive({
      ...{
        from,
        into,
        name: libvirt ?? newName,
        connect,
        pool,
        newUuid,
        newMac,
        force,
        buffer,
        bwlimit,
        parents,
        spool,
        socket,
        keys,
        signal,
      },
      warn: (message) => say(noteLine('warning', message)),
      inform: (message) => say(printable(message)),
      onProgress: (now) => {
        Object.assign(progress, now)
        const percent = Math.floor((now.done / Math.max(1, now.total)) * 100)
        if (percent < progress.told + STEP || percent >= 100) return
        progress.told = percent - (percent % STEP)
        say(`restored ${progress.told}%: ${formatBytes(now.done)} of ${formatBytes(now.total)}`)
      },
    })
    say(`complete: the domain ${printable(name)} (${uuid}) has plain images: ${files.map(printable).join(', ')}`)
  } finally {
    dispose()
  }
}
