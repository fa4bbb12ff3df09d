/** A backup that runs: how far it is, its pipeline, and what its guest feels of it. */

import type { ComponentChildren } from 'preact'
import type { Snapshot } from '../../../../core/meter.ts'
import type { RunStats } from '../../../../core/stats.ts'
import type { NowRow } from '../../../house.ts'
import { formatBytes, formatDuration, formatRate, ratio, sentence } from '../../format.ts'
import { ActButton } from '../../parts/act-button.tsx'
import { Badge, Figure, Progress } from '../../parts/basics.tsx'
import { confirm } from '../../parts/dialog.tsx'
import { Ago } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { act } from '../../state/toasts.ts'
import { Latency } from './latency.tsx'
import { Pipeline } from './pipeline.tsx'

export const PHASES: Partial<Record<NowRow['phase'], string>> = {
  preparing: 'preparing',
  backup: 'backing up',
  verify: 'verifying',
  copy: 'copying',
  boot: 'boot test',
}

export function Running({ row }: { row: NowRow }) {
  const { guest, host, job, phase, attempts, snapshot, stats, latency, began } = row
  const percent = snapshot?.percent ?? null
  return (
    <article class="card running" aria-label={`Backup of ${guest}`}>
      <header class="running-head">
        <div class="running-name">
          <h2>
            <a href={href('guest', [host, guest])}>{guest}</a>
          </h2>
          <Badge tone="accent" icon="running">
            {PHASES[phase] ?? phase}
          </Badge>
          {attempts > 1 && (
            <Badge tone="warn" icon="late">
              attempt {attempts}
            </Badge>
          )}
          <span class="quiet">
            <a href={href('job', [host, job])}>{job}</a> on {host}
            {began && (
              <>
                , began <Ago at={began} />
              </>
            )}
          </span>
        </div>
        <ActButton
          what="cancel"
          icon="close"
          text="Cancel"
          label={`Cancel the backup of ${guest}`}
          small
          run={() => askCancel(row)}
        />
      </header>
      <div class="running-progress">
        <Progress value={percent} label={`Backup of ${guest}`} />
        <span class="percent">{percent === null ? '' : `${Math.floor(percent)} %`}</span>
        <span class="left">{timeLeft(row)}</span>
      </div>
      {row.reason && <p class="reason">{row.reason}</p>}
      {stats && stats.stages.length > 0 && <Pipeline stats={stats} guest={guest} />}
      {(snapshot || latency) && (
        <div class="running-body">
          {latency && <Latency latency={latency} guest={guest} />}
          {snapshot && <Figures snapshot={snapshot} stats={stats} />}
        </div>
      )}
    </article>
  )
}

function Figures({ snapshot, stats }: { snapshot: Snapshot; stats: RunStats | null }) {
  const { total, read, readRate, written, writeRate, zero, elapsed } = snapshot
  const held = stats?.stages.map((stage) => stage.held) ?? []
  const most = stats?.stages.map((stage) => stage.mostHeld) ?? []
  return (
    <dl class="figures">
      <Figure name="Read" sub={total === null ? undefined : `of ${formatBytes(total)}, ${formatRate(readRate)}`}>
        {formatBytes(read)}
      </Figure>
      <Figure name="Written" sub={formatRate(writeRate)}>
        {formatBytes(written)}
      </Figure>
      <Figure name="Ratio" sub="read to written">
        {ratio(read, written) ?? '–'}
      </Figure>
      <Figure name="Zero" sub="not stored">
        {formatBytes(zero)}
      </Figure>
      {stats && (
        <Figure name="Memory" sub={`at most ${formatBytes(sum(most))}`}>
          {formatBytes(sum(held))}
        </Figure>
      )}
      <Figure name="Elapsed">{formatDuration(elapsed)}</Figure>
    </dl>
  )
}

const sum = (values: number[]) => values.reduce((all, value) => all + value, 0)

function timeLeft({ snapshot, phase }: NowRow): ComponentChildren {
  if (snapshot?.eta != null && snapshot.eta > 0) return `${formatDuration(snapshot.eta)} left`
  return `${sentence(PHASES[phase] ?? phase)} …`
}

export function askCancel({ id, guest, job, host, phase }: NowRow): void {
  confirm({
    title: `Cancel the backup of ${guest}?`,
    button: 'Cancel the backup',
    danger: true,
    run: () => act({ do: 'cancel', id }, `${guest} is being canceled`),
    children: (
      <>
        <p>
          {phase === 'waiting'
            ? `It has not begun. ${guest} is left out of this run of ${job} on ${host}.`
            : `The archive that is being made is thrown away. ${guest} goes on running: its writes are no longer held.`}
        </p>
        <p>Archives that are complete stay, and other guests of the run go on.</p>
      </>
    ),
  })
}
