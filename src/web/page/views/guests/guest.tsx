/** One guest: how it is protected, its trends, its archives as chains. */

import type { ArchiveRow, GuestRow } from '../../../house.ts'
import { count, exactTime, formatBytes, formatDuration, promised } from '../../format.ts'
import { askPrune } from '../../forms/prune.tsx'
import { ActButton } from '../../parts/act-button.tsx'
import { Alert, Badge, Empty, Figure, Head, Loaded, Section } from '../../parts/basics.tsx'
import { Ago } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { address } from '../../state/api.ts'
import { useResource } from '../../state/resource.ts'
import { Chains } from '../archives/chains.tsx'
import { startGuest } from './actions.tsx'
import { Age, StateBadge } from './state.tsx'
import { Trend } from './trend.tsx'

export function Guest({ host, guest }: { host: string; guest: string }) {
  const held = useResource<GuestRow | null>('guest', { host, guest }, 'guests')
  const archives = useResource<ArchiveRow[]>('archives', { host, guest }, 'archives')
  const row = held.data.value
  return (
    <>
      <Head
        title={guest}
        above={[{ text: 'Guests', link: href('guests') }]}
        about={
          <>
            on <a href={href('guests', [], { host })}>{host}</a>
            {row && row.jobs.length > 0 && <> · </>}
            {row?.jobs.map((job, index) => (
              <span key={job}>
                {index > 0 && ', '}
                <a href={href('job', [host, job])}>{job}</a>
              </span>
            ))}
          </>
        }
      >
        {row && row.jobs.length > 0 && (
          <>
            <ActButton
              what="prune"
              host={host}
              icon="prune"
              text="Prune …"
              run={() => askPrune({ host, job: row.jobs[0], guest })}
            />
            <ActButton
              what="start"
              host={host}
              icon="running"
              text="Back up now …"
              primary
              run={() => startGuest(row)}
            />
          </>
        )}
      </Head>
      <Loaded from={held}>{() => (row ? <Protection row={row} archives={archives.data.value} /> : <Unknown />)}</Loaded>
      <Section title="Archives" note={archives.data.value && count(archives.data.value.length, 'archive')}>
        <Loaded from={archives}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty icon="archives" title="It has no archives">
                <p>Its first backup makes one.</p>
              </Empty>
            ) : (
              <Chains rows={rows} />
            )
          }
        </Loaded>
      </Section>
    </>
  )
}

function Unknown() {
  return (
    <Alert kind="info" title="This guest is on no host now">
      <p>It was removed, renamed or has moved. Archives that were made of it are below.</p>
    </Alert>
  )
}

function Protection({ row, archives = [] }: { row: GuestRow; archives?: ArchiveRow[] }) {
  const { state, problem, promise, size, running, trend, source } = row
  const booted = archives
    .flatMap((archive) => archive.checks.map((check) => ({ archive, check })))
    .filter(({ check }) => check.kind === 'boot')
    .sort((a, b) => b.check.at.localeCompare(a.check.at))
    .at(0)
  return (
    <>
      {problem && (
        <Alert kind={state === 'good' ? 'warn' : 'bad'} title={problem}>
          {row.jobs.length === 0 && <p>Add it to the guests of a job file, then it is backed up with them.</p>}
        </Alert>
      )}
      <div class="overview">
        <div class="card">
          <dl class="figures">
            <Figure
              name="Protection"
              sub={promise === null ? 'no promise' : `a backup at least every ${promised(promise)}`}
            >
              <StateBadge state={state} />
            </Figure>
            <Figure name="Last good backup">
              <Age row={{ ...row, promise: null }} />
            </Figure>
            <Figure name="Its drives">{size === null ? '–' : formatBytes(size)}</Figure>
            <Figure name="The guest" sub={source}>
              {running === null ? 'unknown' : running ? 'running' : 'not running'}
            </Figure>
          </dl>
          {trend.length > 1 && (
            <div class="trends">
              <Trend name="Stored by each backup" trend={trend} value={({ stored }) => stored} format={formatBytes} />
              <Trend name="Time it took" trend={trend} value={({ seconds }) => seconds} format={formatDuration} />
            </div>
          )}
        </div>
        {booted && (
          <div class="card booted">
            <h3>Last boot test</h3>
            {booted.check.picture && (
              <a href={href('archive', [booted.archive.host, booted.archive.id])}>
                <img
                  src={address('picture', { host: booted.archive.host, archive: booted.archive.id })}
                  alt={`Screen of ${row.guest} at the end of its boot test of ${exactTime(booted.check.at)}`}
                  loading="lazy"
                />
              </a>
            )}
            <p>
              <Badge tone={booted.check.passed ? 'good' : 'bad'} icon={booted.check.passed ? 'good' : 'failed'}>
                {booted.check.passed ? 'booted' : 'did not boot'}
              </Badge>{' '}
              <span class="quiet">
                <Ago at={booted.check.at} />
              </span>
            </p>
            {booted.check.detail && <p class="quiet">{booted.check.detail}</p>}
          </div>
        )}
      </div>
    </>
  )
}
