/** What `verify --sample` does: some archives of a place are verified, in turn. */

import type { CatalogEntry, Check } from '../../catalog/entry.ts'
import { printable, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { JobFlags } from '../flags.ts'
import { type KeyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { count, formatDuration, tell } from '../text.ts'

interface SampleFlags extends JobFlags, KeyFlags {
  sample: number
  guest?: string | undefined
  json?: boolean | undefined
}

/** Throws DAMAGED if an archive is damaged. */
export async function verifySampleOf(place: string, flags: SampleFlags): Promise<void> {
  const { sample: share, guest, json, bwlimit, quiet } = flags
  const keys = await keyringOf(flags)
  const { verifySample } = await import('../../catalog/sample.ts')
  const begun = performance.now()
  const onChecked = (entry: CatalogEntry, check: Check) => {
    if (!json && !quiet) tell(lineOf(entry, check))
  }
  const result = await runOperation('verify', flags, (options) =>
    verifySample(place, { ...options, share, guest, keys, bwlimit, onChecked }),
  )
  const { checked, skipped, bytes, total } = result
  const damaged = checked.filter(({ check }) => !check.passed)
  if (json) {
    const archives = checked.map(({ entry, check }) => ({ place: entry.place, guest: entry.guest, ...check }))
    tell(
      JSON.stringify(
        { version: 1, place, archives, skipped: skipped.map((entry) => entry.place), bytes, total },
        null,
        2,
      ),
    )
  } else if (!quiet) {
    const part = total === 0 ? 0 : (bytes / total) * 100
    const unknown = skipped.length === 0 ? '' : `; ${count(skipped.length, 'archive')} not, for lack of a key`
    const seconds = formatDuration((performance.now() - begun) / 1000)
    tell(
      `${count(checked.length, 'archive')} verified in ${seconds}: ${formatBytes(bytes)}, ${part.toFixed(1)} % of the place${unknown}`,
    )
  }
  if (damaged.length === 0) return
  throw new VmapipeError(
    'DAMAGED',
    `${count(damaged.length, 'archive')} of ${checked.length} failed: '${printable(damaged[0].entry.place)}'`,
    {
      hint: 'make a new backup of the guest, a full one',
    },
  )
}

function lineOf({ place }: CatalogEntry, { passed, detail = '' }: Check): string {
  return `${passed ? 'whole  ' : 'DAMAGED'}  ${printable(place)}${detail === '' ? '' : `  ${printable(detail)}`}`
}
