/** Who did what. */

import { useEffect, useState } from 'preact/hooks'
import type { AuditRow } from '../../../api.ts'
import { Alert, Badge, Empty, Loading, Section } from '../../parts/basics.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { Search } from '../../parts/search.tsx'
import { At } from '../../parts/time.tsx'
import { CallError, get } from '../../state/api.ts'

const PAGE = 200

export function Audit() {
  const [rows, setRows] = useState<AuditRow[] | null>(null)
  const [problem, setProblem] = useState<CallError | null>(null)
  const [more, setMore] = useState(false)
  const [search, setSearch] = useState('')
  const load = async (known: AuditRow[]) => {
    try {
      const next = await get<AuditRow[]>('audit', { before: known.at(-1)?.at, most: String(PAGE) })
      setRows([...known, ...next])
      setMore(next.length === PAGE)
    } catch (error) {
      setProblem(error instanceof CallError ? error : new CallError(0, String(error)))
    }
  }
  useEffect(() => void load([]), [])
  if (problem) return <Alert kind="bad" title={problem.message} />
  if (rows === null) return <Loading />
  const wanted = search.toLowerCase()
  const shown = rows.filter((row) => `${row.who} ${row.from} ${row.what} ${row.detail}`.toLowerCase().includes(wanted))
  return (
    <Section title="Audit log">
      <div class="filters">
        <Search value={search} label="Search the log" onValue={setSearch} />
      </div>
      {shown.length === 0 ? (
        <Empty icon="note" title={rows.length === 0 ? 'Nothing was done yet' : 'Nothing is like that'} />
      ) : (
        <Rows
          label="Audit log"
          rows={shown}
          columns={COLUMNS}
          id={(row) => `${row.at} ${row.who} ${row.what} ${row.detail} ${rows.indexOf(row)}`}
          cardHeight={148}
        />
      )}
      {more && (
        <button type="button" class="button" onClick={() => load(rows)}>
          Show older ones
        </button>
      )}
    </Section>
  )
}

const TONES = { done: 'good', failed: 'bad', refused: 'warn' } as const
const ICONS = { done: 'good', failed: 'failed', refused: 'overdue' } as const

const COLUMNS: Column<AuditRow>[] = [
  { key: 'at', lead: true, title: 'When', width: '170px', cell: ({ at }) => <At at={at} /> },
  {
    key: 'who',
    title: 'Who',
    width: '18%',
    cell: ({ who, from }) => (
      <div class="two-lines">
        <span class="clip">{who ?? <span class="quiet">nobody</span>}</span>
        <span class="sub">{from}</span>
      </div>
    ),
  },
  { key: 'what', title: 'What', width: '12%', cell: ({ what }) => <span class="clip">{what}</span> },
  {
    key: 'detail',
    title: 'Of what',
    cell: ({ detail }) => (
      <span class="clip mono" title={detail}>
        {detail}
      </span>
    ),
  },
  {
    key: 'outcome',
    title: 'Outcome',
    width: '108px',
    cell: ({ outcome }) => (
      <Badge tone={TONES[outcome]} icon={ICONS[outcome]}>
        {outcome}
      </Badge>
    ),
  },
]
