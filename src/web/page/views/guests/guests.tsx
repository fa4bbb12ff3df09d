/** All guests of all hosts: those without protection first. Search, filters and order are in the address. */

import { useMemo } from 'preact/hooks'
import type { GuestRow } from '../../../house.ts'
import { count, formatBytes, formatDuration } from '../../format.ts'
import { Empty, Head, Loaded } from '../../parts/basics.tsx'
import { Choice } from '../../parts/field.tsx'
import { Icon } from '../../parts/icons.tsx'
import { Menu } from '../../parts/menu.tsx'
import { type Column, Rows } from '../../parts/rows.tsx'
import { Search } from '../../parts/search.tsx'
import { Spark } from '../../parts/spark.tsx'
import { filter, href, route } from '../../router.ts'
import { guestRows } from '../../state/data.ts'
import { useFresh } from '../../state/resource.ts'
import { ability, session } from '../../state/session.ts'
import { startGuest } from './actions.tsx'
import { Age, type GuestState, STATE_MEANING, STATES, StateBadge } from './state.tsx'

export function Guests() {
  const held = useFresh(guestRows, 'guests')
  return (
    <>
      <Head title="Guests" about={held.data.value && <About rows={held.data.value} />} />
      <Loaded from={held}>{(rows) => (rows.length === 0 ? <NoGuests /> : <List rows={rows} />)}</Loaded>
    </>
  )
}

function About({ rows }: { rows: GuestRow[] }) {
  const hosts = new Set(rows.map(({ host }) => host)).size
  return <>{`${count(rows.length, 'guest')} on ${count(hosts, 'host')}`}</>
}

function NoGuests() {
  const isFleet = session.value?.house?.abilities.hosts
  return (
    <Empty icon="guests" title="No guests are known">
      <p>Guests appear here as soon as a host runs some, or a job names them.</p>
      {isFleet ? (
        <p>
          <a href={href('hosts')}>See the hosts of the fleet</a>
        </p>
      ) : (
        <p>
          Write a job file and install it: <code>vmapipe job install nightly.yaml</code>
        </p>
      )}
    </Empty>
  )
}

const rank = new Map(STATES.map((state, index) => [state, index]))
const age = ({ lastGood }: GuestRow) => (lastGood === null ? 0 : Date.parse(lastGood))
const text = new Intl.Collator('en', { numeric: true }).compare
const seconds = ({ trend }: GuestRow) => trend.at(-1)?.seconds ?? -1
const stored = ({ trend }: GuestRow) => trend.at(-1)?.stored ?? -1

const ORDERS: Record<string, (a: GuestRow, b: GuestRow) => number> = {
  state: (a, b) => rank.get(a.state)! - rank.get(b.state)! || age(a) - age(b) || text(a.guest, b.guest),
  guest: (a, b) => text(a.guest, b.guest),
  host: (a, b) => text(a.host, b.host) || text(a.guest, b.guest),
  age: (a, b) => age(a) - age(b),
  stored: (a, b) => stored(a) - stored(b),
  duration: (a, b) => seconds(a) - seconds(b),
}

function List({ rows }: { rows: GuestRow[] }) {
  const { query } = route.value
  const given = (name: string) => query.get(name) ?? ''
  const [search, state, host, job] = ['q', 'state', 'host', 'job'].map(given)
  const key = given('sort') in ORDERS ? given('sort') : 'state'
  const down = given('down') !== ''
  // All but the state, so that the chips can say how many of each there are.
  const found = useMemo(() => {
    const wanted = search.toLowerCase()
    return rows.filter(
      (row) =>
        (host === '' || row.host === host) &&
        (job === '' || row.jobs.includes(job)) &&
        (wanted === '' || `${row.guest}\n${row.host}`.toLowerCase().includes(wanted)),
    )
  }, [rows, search, host, job])
  const shown = useMemo(() => {
    const kept = state === '' ? found : found.filter((row) => row.state === state)
    const ordered = kept.toSorted(ORDERS[key])
    return down ? ordered.reverse() : ordered
  }, [found, state, key, down])
  const hosts = useMemo(() => [...new Set(rows.map((row) => row.host))].sort(text), [rows])
  const jobs = useMemo(() => [...new Set(rows.flatMap((row) => row.jobs))].sort(text), [rows])
  const onSort = (name: string) =>
    filter({ sort: name === 'state' ? null : name, down: name === key && !down ? '1' : null })
  return (
    <>
      <Health rows={found} state={state} />
      <div class="filters">
        <Search value={search} label="Search guests" onValue={(q) => filter({ q })} />
        {hosts.length > 1 && (
          <Choice
            quiet
            label="Host"
            value={host}
            options={[{ value: '', text: 'All hosts' }, ...hosts.map((value) => ({ value, text: value }))]}
            onValue={(value) => filter({ host: value })}
          />
        )}
        {jobs.length > 1 && (
          <Choice
            quiet
            label="Job"
            value={job}
            options={[{ value: '', text: 'All jobs' }, ...jobs.map((value) => ({ value, text: value }))]}
            onValue={(value) => filter({ job: value })}
          />
        )}
        <p class="found" role="status">
          {count(shown.length, 'guest')}
        </p>
      </div>
      {shown.length === 0 ? (
        <Empty icon="search" title="No guest is like that">
          <button type="button" class="button" onClick={() => filter({ q: null, state: null, host: null, job: null })}>
            Show all
          </button>
        </Empty>
      ) : (
        <Rows
          label="Guests"
          rows={shown}
          columns={COLUMNS}
          id={(row) => `${row.host}/${row.guest}`}
          height={52}
          cardHeight={164}
          sort={{ key, down }}
          onSort={onSort}
        />
      )}
    </>
  )
}

/** How many guests are in which state, as a bar and as buttons that filter. */
function Health({ rows, state }: { rows: GuestRow[]; state: string }) {
  const counts = new Map<GuestState, number>(STATES.map((each) => [each, 0]))
  for (const row of rows) counts.set(row.state, counts.get(row.state)! + 1)
  return (
    <div class="health">
      <div class="health-bar" aria-hidden="true">
        {STATES.filter((each) => counts.get(each)! > 0).map((each) => (
          <i key={each} class={each} style={{ flexGrow: counts.get(each)! }} />
        ))}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset would draw a frame */}
      <div class="chips" role="group" aria-label="By state">
        {STATES.map((each) => (
          <button
            key={each}
            type="button"
            class={`chip ${each}`}
            aria-pressed={state === each}
            title={STATE_MEANING[each]}
            onClick={() => filter({ state: state === each ? null : each })}
          >
            <Icon name={each} size={14} />
            {each}
            <b>{counts.get(each)!.toLocaleString('en')}</b>
          </button>
        ))}
      </div>
    </div>
  )
}

const COLUMNS: Column<GuestRow>[] = [
  { key: 'state', title: 'State', width: '138px', sortable: true, cell: ({ state }) => <StateBadge state={state} /> },
  {
    key: 'guest',
    lead: true,
    title: 'Guest',
    sortable: true,
    cell: ({ host, guest, problem, running }) => (
      <div class="two-lines">
        <a class="name" href={href('guest', [host, guest])} title={guest}>
          {guest}
        </a>
        <span class={`sub ${problem ? 'bad' : ''}`} title={problem ?? undefined}>
          {problem ?? (running === false ? 'not running' : '')}
        </span>
      </div>
    ),
  },
  {
    key: 'host',
    title: 'Host, jobs',
    width: '14%',
    sortable: true,
    cell: ({ host, jobs }) => (
      <div class="two-lines">
        <span class="clip">{host}</span>
        <span class="sub">{jobs.join(', ') || 'no job'}</span>
      </div>
    ),
  },
  { key: 'age', title: 'Last good backup', width: '134px', sortable: true, cell: (row) => <Age row={row} /> },
  {
    key: 'stored',
    title: 'Stored',
    width: '164px',
    sortable: true,
    end: true,
    cell: ({ size, trend }) => (
      <span class="with-spark">
        <Spark name="Stored" values={trend.slice(-10).map(({ stored }) => stored)} format={formatBytes} />
        <span class="value two-lines">
          <span>{trend.length === 0 ? '–' : formatBytes(trend.at(-1)!.stored)}</span>
          <span class="sub">{size === null ? '' : `of ${formatBytes(size)}`}</span>
        </span>
      </span>
    ),
  },
  {
    key: 'duration',
    title: 'Took',
    width: '124px',
    sortable: true,
    end: true,
    wide: true,
    cell: ({ trend }) => (
      <span class="with-spark">
        <Spark
          name="Duration"
          values={trend.slice(-10).map((each) => each.seconds)}
          bad={trend.slice(-10).map(({ outcome }) => outcome === 'failed')}
          format={formatDuration}
        />
        <span class="value">{trend.length === 0 ? '–' : formatDuration(trend.at(-1)!.seconds)}</span>
      </span>
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

function Actions({ row }: { row: GuestRow }) {
  const { host, guest, jobs } = row
  const { can, why } = session.value ? ability('start', host) : { can: false, why: null }
  const start = can || why !== null
  return (
    <Menu
      label={`Actions for ${guest}`}
      items={[
        start && jobs.length > 0 ? { icon: 'running', text: 'Back up now …', why, run: () => startGuest(row) } : null,
        { icon: 'archives', text: 'Archives', link: href('archives', [], { host, guest }) },
        { icon: 'guests', text: 'Details', link: href('guest', [host, guest]) },
      ]}
    />
  )
}
