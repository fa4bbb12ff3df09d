/** Browsers that are signed in. */

import type { SessionRow } from '../../../api.ts'
import { count } from '../../format.ts'
import { Badge, Loaded, Section } from '../../parts/basics.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { Ago } from '../../parts/time.tsx'
import { post } from '../../state/api.ts'
import { type Resource, useResource } from '../../state/resource.ts'
import { toast, toastError } from '../../state/toasts.ts'

export function Sessions() {
  const held = useResource<SessionRow[]>('sessions', {}, null)
  return (
    <Loaded from={held}>
      {(rows) => (
        <Section title="Sessions" note={count(rows.length, 'session')}>
          <Rows label="Sessions" rows={rows} columns={columnsFor(held)} id={({ id }) => id} cardHeight={128} />
        </Section>
      )}
    </Loaded>
  )
}

const columnsFor = (held: Resource<SessionRow[]>): Column<SessionRow>[] => [
  {
    key: 'user',
    lead: true,
    title: 'Who',
    cell: ({ user, own }) => (
      <span class="clip">
        <strong>{user}</strong>{' '}
        {own && (
          <Badge tone="accent" icon="user">
            this browser
          </Badge>
        )}
      </span>
    ),
  },
  { key: 'role', title: 'Role', width: '14%', cell: ({ role }) => role },
  { key: 'from', title: 'From', width: '20%', cell: ({ from, how }) => `${from}, by ${how}` },
  { key: 'began', title: 'Began', width: '14%', cell: ({ began }) => <Ago at={began} /> },
  { key: 'seen', title: 'Seen', width: '14%', cell: ({ seen }) => <Ago at={seen} /> },
  {
    key: 'do',
    title: 'Actions',
    quiet: true,
    end: true,
    width: '90px',
    cell: ({ id, own, user }) =>
      own ? null : (
        <button
          type="button"
          class="button small"
          aria-label={`End this session of ${user}`}
          onClick={async () => {
            try {
              await post('sessions/end', { id })
              toast('done', 'The session has ended')
            } catch (error) {
              toastError(error)
            }
            held.refresh()
          }}
        >
          End
        </button>
      ),
  },
]
