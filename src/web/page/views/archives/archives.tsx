/** Archives of all guests, or of those that are searched for. */

import { useMemo } from 'preact/hooks'
import type { ArchiveRow } from '../../../house.ts'
import { count, formatBytes } from '../../format.ts'
import { Empty, Head, Loaded } from '../../parts/basics.tsx'
import { Choice, Segments } from '../../parts/field.tsx'
import { Search } from '../../parts/search.tsx'
import { filter, href, route } from '../../router.ts'
import { hostRows } from '../../state/data.ts'
import { useFresh, useResource } from '../../state/resource.ts'
import { session } from '../../state/session.ts'
import { Chains } from './chains.tsx'

/** Guests of a fleet whose archives are shown all at once; of more, those of one host. */
const MOST_GUESTS = 2000

export function Archives() {
  const { query } = route.value
  const host = query.get('host') ?? undefined
  const guest = query.get('guest') ?? undefined
  if (session.value?.house?.abilities.hosts) return <OfFleet host={host} guest={guest} />
  return <Of host={host} guest={guest} hosts={[]} />
}

interface OfProps {
  host?: string
  guest?: string
}

function OfFleet({ host, guest }: OfProps) {
  const held = useFresh(hostRows, 'hosts')
  const hosts = held.data.value
  const names = hosts?.map((row) => row.host) ?? []
  const many = (hosts?.reduce((all, { guests }) => all + guests, 0) ?? 0) > MOST_GUESTS
  if (host === undefined && (hosts === undefined || many))
    return (
      <>
        <Head title="Archives" />
        <Loaded from={held}>
          {() => (
            <Empty icon="hosts" title="Of which host?">
              <p>This fleet has too many archives to show them all at once.</p>
              <HostChoice hosts={names} host={host} />
            </Empty>
          )}
        </Loaded>
      </>
    )
  return <Of host={host} guest={guest} hosts={names} />
}

function HostChoice({ hosts, host }: { hosts: string[]; host?: string }) {
  return (
    <Choice
      quiet
      label="Host"
      value={host ?? ''}
      options={[{ value: '', text: 'All hosts' }, ...hosts.map((value) => ({ value, text: value }))]}
      onValue={(value) => filter({ host: value, guest: null })}
    />
  )
}

function Of({ host, guest, hosts }: OfProps & { hosts: string[] }) {
  const held = useResource<ArchiveRow[]>('archives', { host, guest }, 'archives')
  const rows = held.data.value
  const bytes = rows?.reduce((all, { size }) => all + size, 0) ?? 0
  return (
    <>
      <Head
        title="Archives"
        about={rows && `${count(rows.length, 'archive')}${guest ? ` of ${guest}` : ''}, ${formatBytes(bytes)}`}
      />
      <Loaded from={held}>
        {(all) =>
          all.length === 0 ? (
            <Empty icon="archives" title="There are no archives">
              <p>
                The first run of a job makes some. <a href={href('jobs')}>See the jobs</a>
              </p>
              {session.value?.house?.abilities.hosts && (
                <p>
                  Archives that were made before a host has joined are known after a rescan.{' '}
                  <a href={href('hosts')}>See the hosts</a>
                </p>
              )}
              {host !== undefined && hosts.length > 1 && <HostChoice hosts={hosts} host={host} />}
            </Empty>
          ) : (
            <List rows={all} hosts={hosts} host={host} />
          )
        }
      </Loaded>
    </>
  )
}

const ONLY: Record<string, (row: ArchiveRow) => boolean> = {
  protected: (row) => row.protected,
  encrypted: (row) => row.encrypted,
  unchecked: (row) => row.checks.length === 0,
  bad: (row) => row.unreadable !== null || row.checks.some(({ passed }) => !passed),
}

function List({ rows, hosts, host }: { rows: ArchiveRow[]; hosts: string[]; host?: string }) {
  const { query } = route.value
  const given = (name: string) => query.get(name) ?? ''
  const [search, place, only, view] = ['q', 'place', 'only', 'view'].map(given)
  const places = useMemo(() => [...new Set(rows.map((row) => row.place))].sort(), [rows])
  const shown = useMemo(() => {
    const wanted = search.toLowerCase()
    return rows.filter(
      (row) =>
        (place === '' || row.place === place) &&
        (ONLY[only]?.(row) ?? true) &&
        (wanted === '' || `${row.name}\n${row.guest ?? ''}\n${row.notes ?? ''}`.toLowerCase().includes(wanted)),
    )
  }, [rows, search, place, only])
  return (
    <>
      <div class="filters">
        <Search value={search} label="Search archives and notes" onValue={(q) => filter({ q })} />
        {hosts.length > 1 && <HostChoice hosts={hosts} host={host} />}
        {places.length > 1 && (
          <Choice
            quiet
            label="Place"
            value={place}
            options={[{ value: '', text: 'All places' }, ...places.map((value) => ({ value, text: value }))]}
            onValue={(value) => filter({ place: value })}
          />
        )}
        <Choice
          quiet
          label="Which"
          value={only}
          options={[
            { value: '', text: 'All archives' },
            { value: 'bad', text: 'With problems' },
            { value: 'unchecked', text: 'Not checked' },
            { value: 'protected', text: 'Protected' },
            { value: 'encrypted', text: 'Encrypted' },
          ]}
          onValue={(value) => filter({ only: value })}
        />
        <Segments
          label="Order"
          value={view === 'time' ? 'time' : 'chains'}
          options={[
            { value: 'chains', text: 'Chains' },
            { value: 'time', text: 'Newest first' },
          ]}
          onValue={(value) => filter({ view: value === 'time' ? 'time' : null })}
        />
        <p class="found" role="status">
          {count(shown.length, 'archive')}
        </p>
      </div>
      {shown.length === 0 ? (
        <Empty icon="search" title="No archive is like that">
          <button type="button" class="button" onClick={() => filter({ q: null, place: null, only: null })}>
            Show all
          </button>
        </Empty>
      ) : (
        // What is filtered has holes in its chains: it is shown by time.
        <Chains rows={shown} named flat={view === 'time' || shown.length < rows.length} />
      )}
    </>
  )
}
