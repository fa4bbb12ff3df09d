/** The hosts of a fleet. */

import type { HostRow } from '../../house.ts'
import { count } from '../format.ts'
import { ActButton } from '../parts/act-button.tsx'
import { Badge, Empty, Head, Loaded, type Tone } from '../parts/basics.tsx'
import { confirm } from '../parts/dialog.tsx'
import type { IconName } from '../parts/icons.tsx'
import { type Column, Rows } from '../parts/rows.tsx'
import { Ago } from '../parts/time.tsx'
import { href } from '../router.ts'
import { hostRows } from '../state/data.ts'
import { useFresh } from '../state/resource.ts'
import { act } from '../state/toasts.ts'

const STATES: Record<HostRow['state'], { tone: Tone; icon: IconName; means: string }> = {
  up: { tone: 'good', icon: 'good', means: 'it reports and takes work' },
  gone: { tone: 'bad', icon: 'failed', means: 'it has not been heard: its guests are unprotected' },
  drained: { tone: 'warn', icon: 'waiting', means: 'it gets no new work' },
  never: { tone: 'plain', icon: 'info', means: 'it has never reported' },
}

/** Clocks of hosts that are further apart than this are told: seconds. */
const MOST_SKEW = 30

export function Hosts() {
  const held = useFresh(hostRows, 'hosts')
  const rows = held.data.value
  const gone = rows?.filter(({ state }) => state === 'gone').length ?? 0
  return (
    <>
      <Head title="Hosts" about={rows && `${count(rows.length, 'host')}${gone > 0 ? `, ${gone} gone` : ''}`}>
        <ActButton what="rescan" icon="restore" text="Rescan …" run={askRescan} />
      </Head>
      <Loaded from={held}>
        {(hosts) =>
          hosts.length === 0 ? (
            <Empty icon="hosts" title="No host has joined yet">
              <p>
                Make a token with <code>vmapipe fleet token</code>, then run on the host:{' '}
                <code>vmapipe fleet join URL --token-file FILE</code>
              </p>
            </Empty>
          ) : (
            <Rows label="Hosts" rows={hosts} columns={COLUMNS} id={({ host }) => host} height={52} cardHeight={166} />
          )
        }
      </Loaded>
    </>
  )
}

const COLUMNS: Column<HostRow>[] = [
  {
    key: 'state',
    title: 'State',
    width: '124px',
    cell: ({ state }) => (
      <Badge tone={STATES[state].tone} icon={STATES[state].icon} title={STATES[state].means}>
        {state === 'never' ? 'never seen' : state}
      </Badge>
    ),
  },
  {
    key: 'host',
    lead: true,
    title: 'Host',
    cell: ({ host, labels }) => (
      <div class="two-lines">
        <a class="name" href={href('guests', [], { host })}>
          {host}
        </a>
        <span class="sub">{labels.join(', ')}</span>
      </div>
    ),
  },
  {
    key: 'seen',
    title: 'Heard',
    width: '16%',
    cell: ({ seen, skew, state }) => (
      <div class="two-lines">
        {/* The time of a host that is there would be old in the next moment. */}
        {state === 'up' || state === 'drained' ? 'just now' : <Ago at={seen} />}
        <span class={`sub ${skew !== null && Math.abs(skew) > MOST_SKEW ? 'bad' : ''}`}>
          {skew === null || Math.abs(skew) < 1
            ? ''
            : `clock ${Math.round(Math.abs(skew))} s ${skew > 0 ? 'ahead' : 'behind'}`}
        </span>
      </div>
    ),
  },
  {
    key: 'version',
    title: 'Version, zone',
    width: '16%',
    wide: true,
    cell: ({ version, zone }) => (
      <div class="two-lines">
        <span>{version ?? '–'}</span>
        <span class="sub">{zone}</span>
      </div>
    ),
  },
  {
    key: 'guests',
    title: 'Guests',
    end: true,
    width: '80px',
    cell: ({ guests }) => guests.toLocaleString('en'),
  },
  { key: 'running', title: 'Running', end: true, width: '84px', cell: ({ running }) => running.toLocaleString('en') },
  {
    key: 'do',
    title: 'Actions',
    quiet: true,
    end: true,
    width: '128px',
    cell: (row) =>
      row.state === 'drained' ? (
        <ActButton
          what="drain"
          icon="running"
          text="Take back"
          label={`Take ${row.host} back`}
          small
          run={() => void act({ do: 'drain', host: row.host, on: false }, `${row.host} takes work again`)}
        />
      ) : (
        <ActButton
          what="drain"
          icon="waiting"
          text="Drain …"
          label={`Drain ${row.host}`}
          small
          run={() => askDrain(row)}
        />
      ),
  },
]

function askDrain({ host, running, guests }: HostRow): void {
  confirm({
    title: `Drain ${host}?`,
    button: 'Drain it',
    danger: true,
    run: () => act({ do: 'drain', host, on: true }, `${host} gets no new work`),
    children: (
      <>
        <p>
          It gets no new work.{' '}
          {running > 0
            ? `${count(running, 'backup')} that ${running === 1 ? 'runs' : 'run'} there will end first.`
            : ''}
        </p>
        <p>
          {guests > 0 ? `Its ${count(guests, 'guest')} will become late ` : 'Its guests will become late '}
          unless they move to another host, or you take it back.
        </p>
      </>
    ),
  })
}

function askRescan(): void {
  confirm({
    title: 'Read all places again?',
    button: 'Rescan',
    run: () => act({ do: 'rescan' }, 'Hosts read their places again'),
    children: (
      <p>
        Each host lists its places, and what the planner knows of archives is made again from that. Nothing is changed
        at the places; large places take some minutes.
      </p>
    ),
  })
}
