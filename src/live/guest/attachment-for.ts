/** How QEMU will push to us: guarded or plain push, how long a push may wait, and what happens around the point in time. */

import type { SurroundedRun } from '../../core/stage.ts'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import { DEFAULT_MAX_STALL } from '../live-backup.ts'
import type { Attachment, PushDrive } from '../qemu/attachment/attachment.ts'
import { GuardedPush } from '../qemu/attachment/guarded-push.ts'
import { realGuest } from '../qemu/attachment/guest-switch.ts'
import { assertNotMigrating } from '../qemu/attachment/migration.ts'
import { PlainPush } from '../qemu/attachment/plain-push.ts'
import type { BitmapTracking } from '../qemu/bitmaps/tracking.ts'
import { fsfreeze } from '../qemu/freeze/fsfreeze.ts'
import type { QemuDrive } from '../qemu/inventory/discovery.ts'
import { chooseMode } from '../qemu/inventory/mode.ts'
import { copyTimeout, pushLimit, stallIsCut } from '../qemu/inventory/versions.ts'
import type { PushServer } from '../qemu/push-server.ts'
import { RamSnapshot } from '../qemu/ram/ram-snapshot.ts'
import type { GuestOptions } from './options.ts'
import type { GuestParts } from './parts.ts'

interface PushWish {
  qmp: QmpClient
  chosen: readonly QemuDrive[]
  drives: readonly PushDrive[]
  server: PushServer
  /** Null: neither uses nor leaves bitmaps. */
  tracking: BitmapTracking | null
  options: GuestOptions
  parts: GuestParts
  run: Pick<SurroundedRun<unknown>, 'signal' | 'warn' | 'inform'>
}

interface PushWay {
  attachment: Attachment
  /** Milliseconds that a push may wait for us. */
  maxStall: number
  /** In words, if QEMU allows less than was asked for. */
  cut?: string | null
  ram?: RamSnapshot | null
}

export async function attachmentFor(wish: PushWish): Promise<PushWay> {
  const { qmp, chosen, drives, server, tracking, options, parts, run } = wish
  const { pushSocket, pullSocket, ramSocket } = server
  const { warn, inform, signal } = run
  const { mode: wanted = 'auto', agent, 'with-ram': withRam } = options
  const asked = parts.interceptor['max-stall']
  const maxStall = asked ?? DEFAULT_MAX_STALL
  // A guest that is run back from its memory would find everything frozen that is frozen now.
  const mode = withRam ? 'off' : options.fsfreeze
  const around = (insert: () => Promise<void>) =>
    fsfreeze({ mode, agent, warn, inform, signal }, () => qmp.together(() => assertNotMigrating(qmp).then(insert)))
  const choice = await chooseMode(qmp, chosen, withRam ? 'guarded' : wanted)
  await assertNotMigrating(qmp)
  if (choice.mode === 'guarded') {
    const timeout = copyTimeout(qmp.version, maxStall)
    const ram = withRam ? await RamSnapshot.prepare(qmp, ramSocket, maxStall) : null
    const attachment = new GuardedPush({
      ...{ drives, guest: realGuest, pushSocket, pullSocket, timeout, ram, tracking, around },
    })
    const limit = pushLimit(timeout, maxStall)
    const cut = limit < maxStall ? stallIsCut(qmp.version, limit) : null
    // Nobody has asked for the time that is the usual one.
    if (cut !== null) (asked === undefined ? inform : warn)(`${cut}: --max-stall ${maxStall / 1000}s is more`)
    return { attachment, ram, maxStall: limit, cut }
  }
  if (choice.reason !== null)
    warn(`plain push, which does not guard the guest against a kill of this program: ${choice.reason}`)
  const speed = parts.rate === undefined ? undefined : Math.max(1, Math.floor(parts.rate / drives.length))
  return { attachment: new PlainPush({ drives, pushSocket, speed, tracking, around }), maxStall }
}
