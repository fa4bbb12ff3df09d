/** Makes the name of a guest from where its drives are, so that its next backup finds its archives. --guest names it otherwise. */

import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import type { BoundStage } from '../../core/stage.ts'
import type { GuestOptions } from '../../live/guest/options.ts'
import { GUEST_SOURCE } from '../../stages/write-interceptor.ts'

/** A longer name would take too much of the archive's record. */
const LONGEST = 300

/** The guest of this first stage of a backup, such as "libvirt:web01" or "drive-scsi0=/srv/vm1/disk.raw". */
export function guestNameOf({ definition, options }: BoundStage): string {
  if (definition.name !== GUEST_SOURCE) {
    const { guest, drives = {} } = options as { guest?: string; drives?: Record<string, unknown> }
    return guest ?? drivesName(drives)
  }
  const { guest, libvirt, connect, qmp, attach } = options as GuestOptions
  if (guest !== undefined) return guest
  if (libvirt !== undefined) return `libvirt:${libvirt}${connect === undefined ? '' : ` at ${connect}`}`
  return qmp === undefined ? `serve:${resolve(attach!)}` : `qmp:${resolve(qmp)}`
}

function drivesName(drives: Record<string, unknown>): string {
  const names = Object.entries(drives).map(([name, from]) => {
    return typeof from === 'string' ? `${name}=${placeOf(from)}` : name
  })
  const all = names.sort().join(', ')
  if (all.length <= LONGEST) return all
  return `${all.slice(0, 40)}… ${createHash('sha256').update(all).digest('hex')}`
}

/** The place of a drive from any current directory: `disk.raw` and `qcow2:disk.raw` are paths, `nbd://…` is none. */
function placeOf(from: string): string {
  if (/^[a-z0-9+.-]+:\/\//i.test(from)) return from
  const [, format = '', path] = /^([a-z0-9]+:)?(.*)$/s.exec(from)!
  return `${format}${resolve(path)}`
}
