/** The report of one run: what became of each guest, and why what failed has failed. */

import type { GuestReport, RunReport } from '../../../../jobs/report.ts'
import { count, dayTime, formatBytes, formatDuration, milliseconds, ratio } from '../../format.ts'
import { Alert, Badge, Empty, Figure, Head, Loaded, Section, type Tone } from '../../parts/basics.tsx'
import type { IconName } from '../../parts/icons.tsx'
import { At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { useResource } from '../../state/resource.ts'
import { OutcomeBadge } from './outcome.tsx'

export function Run({ host, job, run }: { host: string; job: string; run: string }) {
  const held = useResource<RunReport | null>('report', { host, job, run }, null)
  const started = held.data.value?.started
  return (
    <>
      <Head
        title={started ? `${job}, ${dayTime(started)}` : job}
        above={[
          { text: 'Jobs', link: href('jobs') },
          { text: job, link: href('job', [host, job]) },
        ]}
        about={
          <>
            on {host}, run <span class="mono">{run}</span>
          </>
        }
      />
      <Loaded from={held}>
        {(report) =>
          report === null ? (
            <Empty icon="jobs" title="There is no report of this run">
              <p>It may be too old, or the run has not ended.</p>
            </Empty>
          ) : (
            <Report report={report} host={host} />
          )
        }
      </Loaded>
    </>
  )
}

const ORDER: GuestReport['outcome'][] = ['failed', 'canceled', 'skipped', 'done']

function Report({ report, host }: { report: RunReport; host: string }) {
  const { guests, problem, warnings = [], removed, outcome, started, ended } = report
  const sorted = guests.toSorted((a, b) => ORDER.indexOf(a.outcome) - ORDER.indexOf(b.outcome))
  const done = guests.filter(({ outcome }) => outcome === 'done').length
  const read = guests.reduce((all, guest) => all + (guest.read ?? 0), 0)
  const stored = guests.reduce((all, guest) => all + (guest.stored ?? 0), 0)
  return (
    <>
      {problem && <Alert kind="bad" title={problem} />}
      {warnings.map((warning) => (
        <Alert key={warning} kind="warn" title={warning} />
      ))}
      <div class="card">
        <dl class="figures">
          <Figure name="Outcome" sub={`${done.toLocaleString('en')} of ${count(guests.length, 'guest')} backed up`}>
            <OutcomeBadge outcome={outcome} />
          </Figure>
          <Figure name="Began">
            <At at={started} />
          </Figure>
          <Figure name="Took">{formatDuration(Math.max(0, (Date.parse(ended) - Date.parse(started)) / 1000))}</Figure>
          <Figure name="Read">{formatBytes(read)}</Figure>
          <Figure name="Stored" sub={ratio(read, stored) ?? undefined}>
            {formatBytes(stored)}
          </Figure>
        </dl>
      </div>
      {removed.length > 0 && (
        <p class="quiet after">
          Retention removed{' '}
          {removed
            .map(({ place, archives, bytes }) => `${count(archives, 'archive')} (${formatBytes(bytes)}) from ${place}`)
            .join(', ')}
          .
        </p>
      )}
      <Section title="Guests" note={count(guests.length, 'guest')}>
        <ul class="list">
          {sorted.map((guest) => (
            <Guest key={guest.guest} report={guest} host={host} />
          ))}
        </ul>
      </Section>
    </>
  )
}

const LOOKS: Record<GuestReport['outcome'], [Tone, IconName]> = {
  done: ['good', 'good'],
  failed: ['bad', 'failed'],
  skipped: ['plain', 'info'],
  canceled: ['warn', 'close'],
}

function Guest({ report, host }: { report: GuestReport; host: string }) {
  const { guest, outcome, reason, hint, code, attempts, kind, places, seconds, read, stored, longestWait } = report
  const [tone, icon] = LOOKS[outcome]
  const facts = [
    kind,
    seconds !== undefined && formatDuration(seconds),
    read !== undefined && `${formatBytes(read)} read`,
    stored !== undefined && `${formatBytes(stored)} stored`,
    longestWait !== undefined && `longest write ${milliseconds(longestWait)}`,
    attempts > 1 && count(attempts, 'attempt'),
    report.verified && 'verified',
    report.booted && 'booted',
    places.length > 0 && `at ${places.join(', ')}`,
  ].filter(Boolean)
  return (
    <li class="report">
      <div class="list-row">
        <Badge tone={tone} icon={icon}>
          {outcome}
        </Badge>
        <a class="name" href={href('guest', [host, guest])}>
          {guest}
        </a>
        <span class="quiet facts">{facts.join(' · ')}</span>
      </div>
      {(reason || hint || report.warnings.length > 0) && (
        <div class={`report-log ${outcome === 'failed' ? 'bad' : ''}`}>
          {reason && (
            <p>
              {code && <span class="mono">{code} </span>}
              {reason}
            </p>
          )}
          {hint && <p class="quiet">{hint}</p>}
          {report.warnings.map((warning) => (
            <p key={warning} class="warn">
              {warning}
            </p>
          ))}
        </div>
      )}
    </li>
  )
}
