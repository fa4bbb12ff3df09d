/** All jobs: when each runs next, what became of its runs, and how to begin one. */

import type { JobRow } from '../../../house.ts'
import { count, promised } from '../../format.ts'
import { askPrune } from '../../forms/prune.tsx'
import { startJob } from '../../forms/start.tsx'
import { Badge, Empty, Head, Loaded, Section } from '../../parts/basics.tsx'
import { Menu } from '../../parts/menu.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { Ago } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { jobRows } from '../../state/data.ts'
import { useFresh } from '../../state/resource.ts'
import { ability } from '../../state/session.ts'
import { History } from './history.tsx'
import { OutcomeBadge } from './outcome.tsx'
import { Timeline } from './timeline.tsx'

export function Jobs() {
  const held = useFresh(jobRows, 'jobs')
  return (
    <>
      <Head
        title="Jobs"
        about={
          held.data.value &&
          `${count(held.data.value.length, 'job')} on ${count(new Set(held.data.value.map(({ host }) => host)).size, 'host')}`
        }
      />
      <Loaded from={held}>
        {(jobs) =>
          jobs.length === 0 ? (
            <Empty icon="jobs" title="There are no jobs yet">
              <p>
                Write a job file and install it: <code>vmapipe job install nightly.yaml</code>
              </p>
            </Empty>
          ) : (
            <>
              <Timeline jobs={jobs} />
              <Section title="All jobs">
                <Rows
                  label="Jobs"
                  rows={jobs}
                  columns={COLUMNS}
                  id={({ host, job }) => `${host}/${job}`}
                  height={56}
                  cardHeight={154}
                />
              </Section>
            </>
          )
        }
      </Loaded>
      <History />
    </>
  )
}

const COLUMNS: Column<JobRow>[] = [
  {
    key: 'job',
    lead: true,
    title: 'Job',
    cell: ({ host, job, description, problem, central }) => (
      <div class="two-lines">
        <span class="clip">
          <a class="name" href={href('job', [host, job])}>
            {job}
          </a>{' '}
          <span class="quiet">{host}</span>
          {central && (
            <>
              {' '}
              <Badge tone="plain" title="Its file is at the planner">
                central
              </Badge>
            </>
          )}
        </span>
        <span class={`sub ${problem ? 'bad' : ''}`} title={problem ?? undefined}>
          {problem ?? description ?? ''}
        </span>
      </div>
    ),
  },
  {
    key: 'schedule',
    title: 'Schedule',
    width: '20%',
    cell: ({ schedule, window }) => (
      <div class="two-lines">
        <span class="clip mono">{schedule.join(', ') || <span class="quiet">by hand</span>}</span>
        <span class="sub">{window ? `window ${window}` : ''}</span>
      </div>
    ),
  },
  { key: 'next', title: 'Next', width: '104px', cell: ({ next }) => <Ago at={next[0] ?? null} none="–" /> },
  {
    key: 'last',
    title: 'Last run',
    width: '196px',
    cell: ({ host, job, last }) =>
      last === null ? (
        <span class="quiet">never</span>
      ) : (
        <a class="plain" href={href('run', [host, job, last.run])}>
          <OutcomeBadge outcome={last.outcome} /> <Ago at={last.ended} />
        </a>
      ),
  },
  {
    key: 'guests',
    title: 'Guests',
    end: true,
    width: '112px',
    cell: ({ guests, promise }) => (
      <div class="two-lines">
        <span>{guests.length.toLocaleString('en')}</span>
        <span class="sub">{promise === null ? '' : `every ${promised(promise)}`}</span>
      </div>
    ),
  },
  {
    key: 'do',
    title: 'Actions',
    quiet: true,
    end: true,
    width: '48px',
    cell: (row) => <Actions row={row} />,
  },
]

function Actions({ row }: { row: JobRow }) {
  const [start, prune] = [ability('start', row.host), ability('prune', row.host)]
  return (
    <Menu
      label={`Actions for ${row.job} on ${row.host}`}
      items={[
        start.can || start.why ? { icon: 'running', text: 'Start …', why: start.why, run: () => startJob(row) } : null,
        prune.can || prune.why
          ? { icon: 'prune', text: 'Prune …', why: prune.why, run: () => askPrune({ host: row.host, job: row.job }) }
          : null,
        { icon: 'jobs', text: 'Details', link: href('job', [row.host, row.job]) },
      ]}
    />
  )
}
