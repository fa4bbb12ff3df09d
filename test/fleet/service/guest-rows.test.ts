import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GuestRows } from '../../../src/fleet/service/rows.ts'
import { FleetState, HostState } from '../../../src/fleet/service/state.ts'
import { guest, job } from './agent-of-test.ts'

const HOUR_MS = 3600_000

/** A host with guests whose last good backups were at time 0; an hour is promised. */
function hostWith(names: string[]) {
  const state = new FleetState()
  const stored = { labels: [], zone: null, parallel: 2, version: null, incarnation: null, drained: false, seen: null }
  const host = new HostState({ host: 'h1', ...stored }, 0)
  host.isUp = true
  state.hosts.set('h1', host)
  const tell = (told: string[]) => {
    const guests = told.map((name) => guest(name, ['nightly']))
    host.take({ at: '', guests, jobs: [job({ name: 'nightly', guests: told, promise: 3600 })], warnings: [] })
    state.owners.report('h1', guests, [], 0)
    state.owners.setUp('h1', host.isUp, 0)
  }
  tell(names)
  for (const name of names)
    state.guests.set(name, { guest: name, host: 'h1', identity: null, lastGood: new Date(0), failure: null })
  return { state, host, tell, rows: new GuestRows() }
}

test('a row is the same until its guest is late, and then only the rows of late guests are new', () => {
  const { state, rows } = hostWith(['a', 'b'])
  state.guests.get('b')!.lastGood = new Date(HOUR_MS)
  const first = rows.of(state, 1)
  assert.deepEqual(
    first.map((row) => row.state),
    ['good', 'good'],
  )
  assert.equal(rows.of(state, HOUR_MS), first)
  assert.equal(rows.haveAged, false)
  const late = rows.of(state, HOUR_MS + 1)
  assert.equal(late[0].state, 'late')
  assert.equal(late[1], first[1])
  assert.equal(rows.haveAged, true)
  // The clock was set back.
  assert.equal(rows.of(state, HOUR_MS)[0].state, 'good')
})

test('what is told of a guest, its host, its backup or its owner makes its row anew', () => {
  const { state, host, rows } = hostWith(['a', 'b'])
  const changes: [string, () => void, (row: ReturnType<GuestRows['of']>[0]) => boolean][] = [
    ['a failure', () => (state.guests.get('a')!.failure = 'no space'), ({ problem }) => /no space/.test(problem ?? '')],
    ['a backup', () => (state.guests.get('a')!.lastGood = new Date(5)), ({ lastGood }) => lastGood?.at(-2) === '5'],
    ['a claim', () => state.owners.report('h2', [guest('a', [])], [], 0), ({ problem }) => /h2/.test(problem ?? '')],
    ['a host', () => (host.isUp = false), (row) => row.state === 'unprotected'],
  ]
  const other = rows.of(state, 10)[1]
  for (const [what, change, isShown] of changes) {
    change()
    const [row, same] = rows.of(state, 10)
    assert.ok(isShown(row), what)
    if (what !== 'a host') assert.equal(same, other, what)
  }
})

test('a guest that no host tells of has no row, and has one again when it is back', () => {
  const { state, rows, tell } = hostWith(['a', 'b'])
  assert.equal(rows.of(state, 1).length, 2)
  tell(['b'])
  assert.deepEqual(
    rows.of(state, 1).map(({ name }) => name),
    ['b'],
  )
  tell(['a', 'b'])
  assert.deepEqual(
    rows.of(state, 1).map(({ name, state }) => `${name} ${state}`),
    ['a good', 'b good'],
  )
})
