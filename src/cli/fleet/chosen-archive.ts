/** Which archive `vmapipe fleet verify` is about, and which host and job read it. */

import { printable, VmapipeError } from '../../core/errors.ts'
import type { PeopleSide } from '../../fleet/fleet.ts'

interface Wanted {
  archive: string | undefined
  guest: string | undefined
  host: string | undefined
}

/** Errors: USAGE if there is no such archive. */
export async function chosenArchive(
  planner: Pick<PeopleSide, 'archives' | 'guests'>,
  { archive, guest, host }: Wanted,
): Promise<{ host: string; job: string; archive: string }> {
  if (archive === undefined && guest === undefined)
    throw new VmapipeError('USAGE', 'nothing says which archive', { hint: 'name one, or give --guest' })
  const filter = { ...(guest !== undefined && { guest }), ...(host !== undefined && { host }) }
  const all = (await planner.archives(filter)).filter(
    (one) => one.unreadable === undefined && (archive === undefined || one.place === archive),
  )
  const home = new Map((await planner.guests()).map((one) => [one.name, one.host]))
  // On a storage that several hosts see, the host of the guest reads it.
  const isHome = (one: { guest: string | null; host: string }) => Number(home.get(one.guest ?? '') === one.host)
  const [found] = all.toSorted((a, b) => b.ctime - a.ctime || isHome(b) - isHome(a))
  if (found === undefined)
    throw new VmapipeError(
      'USAGE',
      archive === undefined
        ? `no host has told of an archive of '${printable(guest!)}'`
        : `no host has told of the archive '${printable(archive)}'`,
      { hint: '`vmapipe fleet archives` lists them; `vmapipe fleet rescan` asks again' },
    )
  return { host: found.host, job: found.job, archive: found.place }
}
