import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LIMBO_MS, Owners, TAKEOVER_MS } from '../../../src/fleet/planner/owners.ts'
import { NIGHT } from './made-up.ts'

const guest = (name: string, identity: string | null = null) => ({ name, identity })

function owned(): Owners {
  const owners = new Owners()
  owners.report('a', [guest('web', 'uuid-1'), guest('db')], [], NIGHT)
  owners.report('b', [guest('mail')], [], NIGHT)
  return owners
}

describe('a guest belongs to', () => {
  test('the host that reports it', () => {
    const owners = owned()
    assert.deepEqual([owners.ownerOf('web'), owners.ownerOf('mail'), owners.ownerOf('nobody')], ['a', 'b', null])
    assert.equal(owners.problemOf('web'), null)
  })

  test('the host that had it, if another that is up as well reports the name: that is told', () => {
    const owners = owned()
    assert.deepEqual(owners.report('b', [guest('mail'), guest('web')], [], NIGHT + 1), [])
    assert.equal(owners.ownerOf('web'), 'a')
    assert.match(owners.problemOf('web')!, /host b reports a guest of this name too; it is backed up on a alone/)
  })

  test('the other host as soon as the first reports it no more', () => {
    const owners = owned()
    owners.report('b', [guest('mail'), guest('web', 'uuid-1')], [], NIGHT + 1)
    const moved = { change: 'moved' as const, guest: 'web', from: 'a', host: 'b', isOther: false }
    assert.deepEqual(owners.report('a', [guest('db')], [], NIGHT + 2), [moved])
    assert.equal(owners.problemOf('web'), null)
  })

  test('the host that reports it after its own is gone, also if that one returns', () => {
    const owners = owned()
    owners.setUp('a', false, NIGHT + 1)
    assert.equal(owners.problemOf('web'), 'its host a is gone')
    assert.equal(owners.report('b', [guest('web', 'uuid-2')], [], NIGHT + 2)[0].change, 'moved')
    assert.deepEqual(owners.setUp('a', true, NIGHT + 3), [])
    assert.equal(owners.ownerOf('web'), 'b')
    assert.match(owners.problemOf('web')!, /host a reports/)
  })

  test('its own host while that is only silent, if another has always had a guest of this name; after ten minutes it does not', () => {
    const owners = owned()
    owners.report('b', [guest('web', 'uuid-2')], [], NIGHT + 1)
    assert.deepEqual(owners.setUp('a', false, NIGHT + 2), [])
    assert.deepEqual(owners.look(NIGHT + TAKEOVER_MS), [])
    const [change] = owners.look(NIGHT + 2 + TAKEOVER_MS)
    assert.deepEqual(change, { change: 'moved', guest: 'web', from: 'a', host: 'b', isOther: true })
  })

  test('the host on which it was last seen while it is on its way, and is forgotten after an hour', () => {
    const owners = owned()
    assert.deepEqual(owners.report('a', [guest('web', 'uuid-1')], [], NIGHT), [])
    assert.equal(owners.ownerOf('db'), 'a')
    assert.equal(owners.isThere('db'), false)
    assert.match(owners.problemOf('db')!, /last seen on a/)
    assert.deepEqual(owners.look(NIGHT + LIMBO_MS - 1), [])
    assert.deepEqual(owners.look(NIGHT + LIMBO_MS), [{ change: 'forgotten', guest: 'db', host: 'a' }])
    assert.equal(owners.ownerOf('db'), null)
  })

  test('no host whose token does not let it claim the name', () => {
    const owners = owned()
    owners.setUp('a', false, NIGHT)
    assert.deepEqual(owners.report('b', [guest('web'), guest('mail')], ['ma*'], NIGHT + 1), [])
    assert.equal(owners.ownerOf('web'), 'a')
    assert.deepEqual(owners.refusedOf('b'), ['web'])
  })

  test('the other host that has it if its own is forgotten, or nobody', () => {
    const owners = owned()
    owners.report('b', [guest('mail'), guest('web')], [], NIGHT + 1)
    const changes = owners.forget('a', NIGHT + 2)
    assert.deepEqual(
      changes.map(({ change, guest }) => [change, guest]),
      [
        ['moved', 'web'],
        ['forgotten', 'db'],
      ],
    )
    assert.deepEqual(
      owners
        .guests()
        .map(({ guest }) => guest)
        .sort(),
      ['mail', 'web'],
    )
  })

  test('the host that it belonged to before the planner was started again, whichever host speaks first', () => {
    const owners = new Owners()
    owners.restore('web', 'a', 'uuid-1')
    owners.setUp('a', false, NIGHT)
    assert.deepEqual(owners.report('b', [guest('web', 'uuid-2')], [], NIGHT + 1), [])
    assert.deepEqual(owners.look(NIGHT + TAKEOVER_MS - 1), [])
    owners.setUp('a', true, NIGHT + 2)
    assert.deepEqual(owners.report('a', [guest('web', 'uuid-1')], [], NIGHT + 3), [])
    assert.equal(owners.ownerOf('web'), 'a')
  })

  test('the host to which it moved while no planner was there', () => {
    const same = new Owners()
    same.restore('web', 'a', 'uuid-1')
    same.setUp('a', false, NIGHT)
    assert.equal(same.report('b', [guest('web', 'uuid-1')], [], NIGHT + 1)[0].change, 'moved')
    const other = new Owners()
    other.restore('web', 'a', null)
    other.setUp('a', false, NIGHT)
    assert.deepEqual(other.report('b', [guest('web')], [], NIGHT + 1), [])
    assert.equal(other.report('a', [], [], NIGHT + 2)[0].change, 'moved', 'its own host does not report it')
    const gone = new Owners()
    gone.restore('web', 'a', null)
    gone.setUp('a', false, NIGHT)
    gone.report('b', [guest('web')], [], NIGHT + 1)
    assert.equal(gone.look(NIGHT + TAKEOVER_MS)[0].change, 'moved')
  })
})
