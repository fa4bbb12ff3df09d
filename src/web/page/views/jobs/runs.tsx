/** Runs as a table, the newest first. */

import type { RunRow } from '../../../house.ts'
import { formatDuration } from '../../format.ts'
import { Badge, Empty } from '../../parts/basics.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { At } from '../../parts/time.tsx'
import { href } from '../../router.ts'
import { OutcomeBadge } from './outcome.tsx'

export function Runs({ rows, named }: { rows: readonly RunRow[]; named?: boolean }) {
  if (rows.length === 0) return <Empty icon="jobs" title="No run in this time" />
  return (
    <Rows
      label="Runs"
      rows={rows}
      columns={named ? [COLUMNS[0], JOB, ...COLUMNS.slice(1)] : COLUMNS}
      id={({ host, job, run }) => `${host}/${job}/${run}`}
      cardHeight={named ? 170 : 126}
    />
  )
}

const JOB: Column<RunRow> = {
  key: 'job',
  title: 'Job',
  width: '26%',
  cell: ({ job, host }) => (
    <span class="clip">
      <a class="plain" href={href('job', [host, job])}>
        {job}
      </a>{' '}
      <span class="quiet">{host}</span>
    </span>
  ),
}

const COLUMNS: Column<RunRow>[] = [
  {
    key: 'run',
    lead: true,
    title: 'Began',
    cell: ({ host, job, run, started }) => (
      <a class="name" href={href('run', [host, job, run])}>
        <At at={started} />
      </a>
    ),
  },
  { key: 'outcome', title: 'Outcome', width: '124px', cell: ({ outcome }) => <OutcomeBadge outcome={outcome} /> },
  {
    key: 'took',
    title: 'Took',
    end: true,
    width: '110px',
    cell: ({ started, ended }) => formatDuration(Math.max(0, (Date.parse(ended) - Date.parse(started)) / 1000)),
  },
  { key: 'done', title: 'Done', end: true, width: '80px', cell: ({ done }) => done.toLocaleString('en') },
  {
    key: 'failed',
    title: 'Failed',
    end: true,
    width: '90px',
    cell: ({ failed }) =>
      failed === 0 ? (
        <span class="quiet">0</span>
      ) : (
        <Badge tone="bad" icon="failed">
          {failed.toLocaleString('en')}
        </Badge>
      ),
  },
]
