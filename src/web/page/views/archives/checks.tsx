/** What was checked of an archive, the last time of each kind. */

import type { ArchiveRow } from '../../../house.ts'
import { exactTime } from '../../format.ts'
import { Badge } from '../../parts/basics.tsx'

type Check = ArchiveRow['checks'][number]

const WORDS: Record<Check['kind'], [passed: string, failed: string]> = {
  verify: ['verified', 'damaged'],
  sample: ['sampled', 'damaged'],
  boot: ['booted', 'did not boot'],
}

/** The last of each kind. */
export function lastChecks({ checks }: ArchiveRow): Check[] {
  const kinds = ['verify', 'sample', 'boot'] as const
  return kinds.flatMap((kind) => {
    const own = checks.filter((check) => check.kind === kind).sort((a, b) => b.at.localeCompare(a.at))
    return own.slice(0, 1)
  })
}

export const checkWord = ({ kind, passed }: Check) => WORDS[kind][passed ? 0 : 1]

export function Checks({ archive }: { archive: ArchiveRow }) {
  const last = lastChecks(archive)
  // A whole verification says more than a sample.
  const shown = last.filter(({ kind }) => kind !== 'sample' || !last.some((check) => check.kind === 'verify'))
  if (shown.length === 0) return <span class="quiet">not checked</span>
  return (
    <span class="badges">
      {shown.map((check) => (
        <Badge
          key={check.kind}
          tone={check.passed ? 'good' : 'bad'}
          icon={check.passed ? (check.kind === 'boot' ? 'screen' : 'good') : 'failed'}
          title={`${exactTime(check.at)}${check.detail ? `: ${check.detail}` : ''}`}
        >
          {checkWord(check)}
        </Badge>
      ))}
    </span>
  )
}
