/** What a work waits for, in one line for people. Names of guests and places are others' text, so they are made printable. */

import { printable } from '../../core/errors.ts'
import type { Limit } from './lane.ts'
import type { InUse, PlannedHost, PlannedWork } from './types.ts'

export function hostText(name: string, host: PlannedHost | null): string {
  if (host !== null && !host.isUp && host.isExpected) return unheardText(name)
  return host === null || !host.isUp ? `host ${name} is gone` : `host ${name} is drained`
}

/** After its hello, or after the planner was started again. */
export function unheardText(host: string): string {
  return `host ${host} has not said yet what it runs`
}

export function guestText({ host }: InUse): string {
  return `the guest is being backed up on host ${host}`
}

export function laterText({ notBefore, isEarly, host, due }: PlannedWork): string {
  if (isEarly) return `the clock of host ${host} has not come to ${timeText(due)} yet`
  return `it failed, and is tried again at ${timeText(notBefore)}`
}

export function windowText(window: string, { host, zone }: PlannedHost, opens: number): string {
  return `the window ${printable(window)} of host ${host} (${printable(zone)}) opens at ${timeText(opens)}`
}

export function limitText({ usage, most, what }: Limit): string {
  return `${printable(what)} has ${usage.count} of ${most} streams in use`
}

export function keptText({ what }: Limit, { guest }: PlannedWork): string {
  return `the next stream of ${printable(what)} is kept for the guest '${printable(guest)}', which was passed over`
}

function timeText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z')
}
