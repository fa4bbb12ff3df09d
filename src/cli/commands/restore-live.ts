/** `vmapipe restore --live`: guests are served while their images are restored. */

import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { LiveRestore } from '../../operations/live-restore.ts'
import type { JobFlags } from '../flags.ts'
import { type KeyFlags, keyringOf } from '../keys.ts'
import { checkServing, guestFlags, type Say, type ServingFlags, serveUntilStopped, speaker } from '../serving.ts'
import { socketAccess } from '../socket-access.ts'
import { noteLine } from '../text.ts'

export interface LiveFlags extends ServingFlags {
  live?: boolean
  parents?: string[]
  spool?: string
}

/** The progress is shown each time it has grown by this many percent. */
const STEP = 10
const LOOK_MS = 500
/** The most ranges without data that are listed. */
const MOST_NAMED = 20

export function liveFlags(command: Command): Command {
  command.option('--live', 'serve the drives at once, to a guest that does not wait for the restore; see below')
  return guestFlags(command).option(
    '--spool <dir>',
    'with --live: folder for drives that must be unpacked first; the folder for temporary files by default',
  )
}

export const LIVE_HELP =
  'With --live the drives are NBD exports at once: reads of a guest come from the archive, its writes go to the images, ' +
  'and the rest is restored meanwhile. Then the images get their final names, and are still served until SIGTERM. If ' +
  'it is killed or stopped before, the same command continues the restore.'

type Flags = JobFlags & LiveFlags & KeyFlags & { force?: boolean; mode?: string }

/** Throws USAGE if flags were given that need --live. */
export function wantsLive({ live = false, ...flags }: LiveFlags): boolean {
  const { socket, socketMode, socketGroup, listen, control, readyFd, spool } = flags
  const given = [socket, socketMode, socketGroup, listen, control, readyFd, spool]
  if (live || given.every((flag) => flag === undefined)) return live
  throw new VmapipeError('USAGE', 'only a restore with --live serves guests', { hint: 'add --live' })
}

/** `others` are flags that were given but have no meaning with --live. */
export async function runLive(
  from: string,
  into: string | undefined,
  flags: Flags,
  others: (string | false | undefined)[],
): Promise<void> {
  const refused = others.filter((flag) => typeof flag === 'string')
  if (into === undefined || refused.length > 0) {
    const without = refused.length > 0 ? `, without ${refused.join(' and ')}` : ''
    throw new VmapipeError('USAGE', `--live restores all drives into a folder${without}`)
  }
  checkServing(flags)
  const { socket, listen, control, force, mode, buffer, bwlimit, threads, parents, spool } = flags
  const keys = await keyringOf(flags)
  const { LiveRestore } = await import('../../operations/live-restore.ts')
  const say = speaker(flags)
  const warn = (message: string) => say(noteLine('warning', message))
  const common = {
    from,
    into,
    socket,
    socketAccess: socketAccess(flags),
    listen,
    control,
    force,
    mode,
    buffer,
    bwlimit,
    threads,
    parents,
    spool,
    keys,
    warn,
  }
  let restore = null as LiveRestore | null
  const make = async (signal: AbortSignal) => {
    restore = await LiveRestore.open({ ...common, signal })
    tellOf(restore, into, say)
    return restore
  }
  await serveUntilStopped(make, flags, say, () => restore!.done)
}

/** Shows the progress of the restore, and how it ended. */
function tellOf(restore: LiveRestore, into: string, say: Say): void {
  let told = 0
  const timer = setInterval(() => {
    const { done, total } = restore.progress
    const percent = Math.floor((done / Math.max(1, total)) * 100)
    if (percent < told + STEP || percent >= 100) return
    told = percent - (percent % STEP)
    say(`restored ${told}%: ${formatBytes(done)} of ${formatBytes(total)}`)
  }, LOOK_MS)
  timer.unref()
  restore.done
    .then(() => say(`complete: the images are in ${printable(into)}`))
    .catch((error: VmapipeError) => {
      if (error.code !== 'ABORTED') say(noteLine('warning', `${error.line}; the parts that exist are served on`))
      const { missing } = restore
      for (const {
        drive,
        offset,
        length,
        error: { message },
      } of missing.slice(0, MOST_NAMED)) {
        say(noteLine('warning', `${drive}: ${length} bytes at ${offset} cannot be restored: ${message}`))
      }
      if (missing.length > MOST_NAMED) say(noteLine('warning', `and ${missing.length - MOST_NAMED} places more`))
    })
    .finally(() => clearInterval(timer))
}
