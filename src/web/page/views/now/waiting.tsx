/** The guests that wait for their turn, and for what. */

import type { NowRow } from '../../../house.ts'
import { count } from '../../format.ts'
import { ActButton } from '../../parts/act-button.tsx'
import { Badge, Section } from '../../parts/basics.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { href } from '../../router.ts'
import { askCancel } from './running.tsx'

const COLUMNS: Column<NowRow>[] = [
  {
    key: 'name',
    lead: true,
    title: 'Guest',
    width: '24%',
    cell: ({ host, guest }) => (
      <a class="name" href={href('guest', [host, guest])}>
        {guest}
      </a>
    ),
  },
  {
    key: 'job',
    title: 'Job',
    width: '22%',
    cell: ({ job, host }) => (
      <span class="clip">
        {job} <span class="quiet">{host}</span>
      </span>
    ),
  },
  {
    key: 'reason',
    title: 'Waits for',
    cell: ({ reason, phase }) => (
      <span class="clip">
        {phase === 'retry' && (
          <Badge tone="warn" icon="late">
            tried again
          </Badge>
        )}{' '}
        {reason ?? 'its turn'}
      </span>
    ),
  },
  {
    key: 'do',
    title: 'Actions',
    quiet: true,
    end: true,
    width: '110px',
    cell: (row) => (
      <ActButton
        what="cancel"
        icon="close"
        text="Cancel"
        label={`Cancel the backup of ${row.guest}`}
        small
        run={() => askCancel(row)}
      />
    ),
  },
]

export function Waiting({ rows }: { rows: NowRow[] }) {
  return (
    <Section title="Waiting" note={count(rows.length, 'guest')}>
      <Rows label="Guests that wait" rows={rows} columns={COLUMNS} id={({ id }) => id} cardHeight={128} />
    </Section>
  )
}
