/** What became of a run. */

import type { RunRow } from '../../../house.ts'
import { Badge, type Tone } from '../../parts/basics.tsx'
import type { IconName } from '../../parts/icons.tsx'

export const OUTCOMES: Record<RunRow['outcome'], { tone: Tone; icon: IconName; text: string; means: string }> = {
  all: { tone: 'good', icon: 'good', text: 'complete', means: 'all guests have new archives at all required places' },
  some: { tone: 'warn', icon: 'overdue', text: 'incomplete', means: 'some guests have no new archive' },
  none: { tone: 'bad', icon: 'failed', text: 'failed', means: 'no guest has a new archive' },
}

export function OutcomeBadge({ outcome }: { outcome: RunRow['outcome'] }) {
  const { tone, icon, text, means } = OUTCOMES[outcome]
  return (
    <Badge tone={tone} icon={icon} title={means}>
      {text}
    </Badge>
  )
}
