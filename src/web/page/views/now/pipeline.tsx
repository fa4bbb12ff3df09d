/**
 * The stages of a backup as boxes, with the rate between them. A bar in each says what it did with its time; the slowest is marked.
 * Stages that only count what passes are a number on the arrow, until somebody wants to see them.
 */

import { useState } from 'preact/hooks'
import type { RunStats, StageStats } from '../../../../core/stats.ts'
import { formatBytes, formatRate, percent } from '../../format.ts'
import { Icon } from '../../parts/icons.tsx'
import { useRates } from './rates.ts'

/** They pass on what they take. */
const BOOKKEEPERS = new Set(['progress', 'record', 'census', 'confirmation'])
const BUSY_SHARE = 0.01

export function Pipeline({ stats, guest }: { stats: RunStats; guest: string }) {
  const [showsAll, setShowsAll] = useState(false)
  const rates = useRates(stats)
  const { stages, elapsed, bottleneck: slowest } = stats
  const isMarked = ({ name, medium }: StageStats) => name === slowest?.stage && medium === slowest.medium
  const isQuiet = (stage: StageStats) =>
    BOOKKEEPERS.has(stage.name) && stage.working < elapsed * BUSY_SHARE && !isMarked(stage)
  const boxes = stages.filter((stage) => showsAll || !isQuiet(stage))
  return (
    <section class="pipeline-frame" aria-label={`Pipeline of ${guest}`}>
      <div class="part-head">
        <h3>Pipeline</h3>
        <p class="legend" aria-hidden="true">
          <span>
            <i class="key working" /> worked
          </span>
          <span>
            <i class="key input" /> waited for input
          </span>
          <span>
            <i class="key next" /> waited for the next stage
          </span>
        </p>
        {stages.some(isQuiet) && (
          <button type="button" class="link all-stages" aria-pressed={showsAll} onClick={() => setShowsAll(!showsAll)}>
            All {stages.length} stages
          </button>
        )}
      </div>
      <ol
        class="pipeline"
        aria-label={`Stages of the backup of ${guest}`}
        style={{ '--boxes': boxes.length, '--half': Math.ceil(boxes.length / 2) }}
      >
        {boxes.map((stage, index) => {
          const next = stages.indexOf(boxes[index + 1])
          const passed = stages.slice(stages.indexOf(stage) + 1, Math.max(next, 0)).map(({ name }) => name)
          const names = `${passed.join(', ')}: less than 1 % of the time`
          return (
            <li key={stage.name + stage.medium} class={isMarked(stage) ? 'stage slowest' : 'stage'}>
              <Stage stage={stage} elapsed={elapsed} share={isMarked(stage) ? slowest!.share : null} />
              {next > 0 && (
                <div class="flow">
                  <span class="rate">{formatRate(rates[next - 1])}</span>
                  <Icon name="arrow" />
                  {passed.length > 0 && (
                    <span class="passed" role="img" aria-label={`through ${names}`} title={names}>
                      +{passed.length}
                    </span>
                  )}
                </div>
              )}
            </li>
          )
        })}
      </ol>
    </section>
  )
}

function Stage({ stage, elapsed, share }: { stage: StageStats; elapsed: number; share: number | null }) {
  const { name, medium, working, waitingForInput, waitingForNext, held } = stage
  const whole = Math.max(elapsed, working + waitingForInput + waitingForNext, 1e-9)
  const parts = [
    { kind: 'working', text: 'worked', part: working / whole },
    { kind: 'input', text: 'waited for input', part: waitingForInput / whole },
    { kind: 'next', text: 'waited for the next stage', part: waitingForNext / whole },
  ]
  const words = parts.map(({ text, part }) => `${text} ${percent(part)}`).join(', ')
  return (
    <div class="stage-box">
      {share !== null && <span class="mark">bottleneck</span>}
      <div class="stage-name">
        <strong title={name}>{name}</strong>
        {medium && <span class="medium">{medium}</span>}
      </div>
      <div class="times" role="img" aria-label={`${name}: ${words}`} title={words}>
        {parts.map(({ kind, part }) => (
          <i key={kind} class={kind} style={{ flexGrow: part }} />
        ))}
        <i style={{ flexGrow: Math.max(0, 1 - parts.reduce((all, { part }) => all + part, 0)) }} />
      </div>
      <div class="stage-foot">
        <span>works {percent(share ?? parts[0].part)}</span>
        <span class="quiet" title="Memory that it holds">
          {formatBytes(held)}
        </span>
      </div>
    </div>
  )
}
