import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setProtected } from '../../src/catalog/annotations.ts'
import { readCatalog } from '../../src/catalog/catalog.ts'
import { forget } from '../../src/catalog/forget.ts'
import { prune } from '../../src/catalog/prune.ts'
import { openParent } from '../../src/operations/since/open-parent.ts'
import { verifyChain } from '../../src/operations/verify-chain.ts'
import { holdUnread } from '../../src/storage/archive/reading-lock.ts'
import { formatList, markOf } from '../../src/storage/archive/volumes/list.ts'
import { openArchiveBytes } from '../../src/storage/archive/volumes/volume-bytes.ts'
import { makePlace, SmallGuest, until } from './places.ts'

const timeout = 120_000
const DAY = 86_400
const NOW = Date.parse('2026-11-29T03:00:00Z')
const night = (number: number) => NOW / 1000 - (10 - number) * DAY

/** A guest whose nights 0 to 5 are two chains: 0 (full) 1 2, and 3 (full) 4 5. */
async function twoChains(t: TestContext) {
  const { place, disks } = makePlace(t)
  const guest = new SmallGuest(disks, 'web')
  mkdirSync(join(place, 'web'))
  const at = (name: string) => join(place, 'web', name)
  for (let number = 0; number < 6; number++) {
    guest.write(number)
    const isFull = number % 3 === 0
    const to = at(`night${number}.vm${isFull ? 'a' : 'i'}`)
    await guest.backup(to, {
      since: isFull ? undefined : at(`night${number - 1}.vm${number % 3 === 1 ? 'a' : 'i'}`),
      ctime: night(number),
    })
  }
  const names = () => readdirSync(join(place, 'web')).sort()
  return { place, at, guest, names }
}

const goneOf = ({ removed }: { removed: { name: string }[] }) => removed.map(({ name }) => name)

suite('prune', { timeout }, () => {
  test('removes a chain that nothing needs, the last archive first, with what is beside it', async (t) => {
    const { place, at, names } = await twoChains(t)
    writeFileSync(at('night0.vma.notes'), 'gone with it')
    writeFileSync(at('night0.vma.idx'), '')
    writeFileSync(at('readme.txt'), 'mine')
    writeFileSync(at('vzdump-qemu-100.vma.old'), 'mine')
    const dry = await prune(place, { last: 1 }, { now: NOW, dryRun: true })
    assert.deepEqual(goneOf(dry), ['night2.vmi', 'night1.vmi', 'night0.vma'])
    assert.equal(names().length, 10)
    const order: string[] = []
    const result = await prune(place, { last: 1 }, { now: NOW, onRemoved: ({ name }) => order.push(name) })
    assert.deepEqual(order, ['night2.vmi', 'night1.vmi', 'night0.vma'])
    assert.ok(result.bytes > 0)
    assert.deepEqual(
      result.verdicts.filter(({ stays }) => stays).map(({ entry, reasons }) => [entry.name, reasons[0]]),
      [
        ['night3.vma', "parent of 'night4.vmi'"],
        ['night4.vmi', "parent of 'night5.vmi'"],
        ['night5.vmi', 'newest good archive'],
      ],
    )
    assert.deepEqual(names(), ['night3.vma', 'night4.vmi', 'night5.vmi', 'readme.txt', 'vzdump-qemu-100.vma.old'])
    await verifyChain({ from: at('night5.vmi') })
    assert.deepEqual(goneOf(await prune(place, { last: 1 }, { now: NOW })), [])
  })

  test('keeps what is being read, and what a backup is made against, until they have ended', async (t) => {
    const { place, at } = await twoChains(t)
    const reading = await openArchiveBytes(at('night0.vma'))
    // Somebody looks whether it is in use while it is locked for the first time, and has it for a moment.
    const looking = await holdUnread(at('night0.vma'))
    await sleep(800)
    await looking!.release()
    await until(
      async () => (await prune(place, { last: 1 }, { now: NOW, dryRun: true })).verdicts[0].reasons.includes('in use'),
      'the lock',
    )
    const first = await prune(place, { last: 1 }, { now: NOW })
    assert.deepEqual(goneOf(first), ['night2.vmi', 'night1.vmi'])
    await reading.close()
    const parent = await openParent(at('night4.vmi'), {})
    const second = await prune(place, { last: 1 }, { now: NOW })
    assert.deepEqual(goneOf(second), ['night0.vma'])
    assert.deepEqual(
      second.verdicts.find(({ entry }) => entry.name === 'night4.vmi')!.reasons.includes('in use'),
      false,
      'it stays anyway',
    )
    await assert.rejects(forget(at('night4.vmi'), { withChildren: true }), /in use/)
    await parent.close()
  })

  test('heeds a mark that comes after its plan was made', async (t) => {
    const { place, at, names } = await twoChains(t)
    const protect = () => writeFileSync(at('night1.vmi.protected'), '')
    const result = await prune(place, { last: 1 }, { now: NOW, onRemoved: protect })
    assert.deepEqual(goneOf(result), ['night2.vmi'])
    const reasons = Object.fromEntries(result.verdicts.map(({ entry, reasons }) => [entry.name, reasons.join()]))
    assert.deepEqual([reasons['night1.vmi'], reasons['night0.vma']], ['protected', "parent of 'night1.vmi'"])
    assert.equal(names().length, 6)
  })

  test('heeds a child that comes after its plan was made, and one that cannot be read', async (t) => {
    const { place, at, guest } = await twoChains(t)
    const late = join(place, '..', 'late.vmi')
    await guest.backup(late, { since: at('night0.vma'), ctime: night(7) })
    const come = () => {
      if (existsSync(late)) renameSync(late, at('late.vmi'))
    }
    const result = await prune(place, { last: 1 }, { now: NOW, onRemoved: come })
    assert.deepEqual(goneOf(result), ['night2.vmi', 'night1.vmi'])
    assert.equal(result.verdicts.find(({ entry }) => entry.name === 'night0.vma')!.reasons[0], "parent of 'late.vmi'")
    for (const { place: from } of await readCatalog(place)) await verifyChain({ from })
    // late.vmi is the newest now, and its parent stays with it: the other chain may go.
    const sealed = () => writeFileSync(at('sealed.vmi.age'), 'no archive')
    const second = await prune(place, { last: 1 }, { now: NOW, onRemoved: sealed })
    assert.deepEqual(goneOf(second), ['night5.vmi'])
    assert.match(
      second.verdicts.find(({ entry }) => entry.name === 'night4.vmi')!.reasons[0],
      /sealed.vmi.age' cannot be read/,
    )
  })

  test('a run that was killed in the middle of an archive is finished by the next', async (t) => {
    const { place, at, names } = await twoChains(t)
    // The archive is gone, its files beside it and the mark are left.
    for (const file of ['x.vma.zst.removing', 'x.vma.zst.notes', 'x.vma.zst.001', 'x.vma.zst.volumes'])
      writeFileSync(at(file), '')
    // This one had only been marked.
    writeFileSync(at('night5.vmi.removing'), '')
    // These belong to an archive that somebody else has lost.
    for (const file of ['y.vma.zst.notes', 'z.vma.001']) writeFileSync(at(file), '')
    await prune(place, { last: 9 }, { now: NOW, dryRun: true })
    assert.ok(existsSync(at('x.vma.zst.001')))
    await prune(place, { last: 9 }, { now: NOW })
    assert.deepEqual(
      names().filter((name) => !name.startsWith('night')),
      ['y.vma.zst.notes', 'z.vma.001'],
    )
    assert.ok(!existsSync(at('night5.vmi.removing')) && existsSync(at('night5.vmi')))
  })

  test('removes all volumes of an archive', async (t) => {
    const { place, disks } = makePlace(t)
    const guest = new SmallGuest(disks, 'web')
    await guest.backup(join(place, 'old.vma'), { since: undefined, ctime: night(1) })
    await guest.backup(join(place, 'new.vma'), { since: undefined, ctime: night(2) })
    const whole = readFileSync(join(place, 'old.vma'))
    const list = []
    for (const [number, at] of [0, 200_000, 400_000].entries()) {
      const path = join(place, `old.vma.00${number}`)
      const part = whole.subarray(at, at === 400_000 ? undefined : at + 200_000)
      writeFileSync(path, part)
      const file = await open(path)
      list.push({ size: part.length, mark: await markOf(file, part.length) })
      await file.close()
    }
    await rm(join(place, 'old.vma'))
    writeFileSync(join(place, 'old.vma.volumes'), formatList(list))
    const [entry] = await readCatalog(place)
    assert.deepEqual([entry.name, entry.size, entry.guest], ['old.vma.000', whole.length, 'web'])
    await setProtected(entry.place, true)
    assert.ok(existsSync(join(place, 'old.vma.protected')))
    assert.deepEqual(goneOf(await prune(place, { last: 1 }, { now: NOW })), [])
    await setProtected(entry.place, false)
    assert.deepEqual(goneOf(await prune(place, { last: 1 }, { now: NOW })), ['old.vma.000'])
    assert.deepEqual(readdirSync(place), ['new.vma'])
  })

  test('of one guest leaves others alone, and stops if the clock has jumped', async (t) => {
    const { place, disks } = makePlace(t)
    const [web, db] = [new SmallGuest(disks, 'web'), new SmallGuest(disks, 'db')]
    for (const number of [1, 2]) {
      await web.backup(join(place, `web${number}.vma`), { since: undefined, ctime: night(number) })
      await db.backup(join(place, `db${number}.vma`), { since: undefined, ctime: night(number) })
    }
    await assert.rejects(
      prune(place, { last: 1 }, { now: NOW - 9 * DAY * 1000 }),
      /is in the future: nothing was removed/,
    )
    assert.equal(readdirSync(place).length, 4)
    const result = await prune(place, { last: 1 }, { now: NOW, guest: 'web' })
    assert.deepEqual(goneOf(result), ['web1.vma'])
    assert.equal(result.verdicts.length, 2)
  })
})

suite('forget', { timeout }, () => {
  test('removes one archive, but none that is protected or that others need', async (t) => {
    const { at, names } = await twoChains(t)
    await assert.rejects(
      forget(at('night3.vma')),
      /is needed by night4.vmi, night5.vmi; |is needed by night4.vmi, night5.vmi/,
    )
    await setProtected(at('night5.vmi'), true)
    await assert.rejects(forget(at('night5.vmi')), /is protected/)
    await assert.rejects(forget(at('night3.vma'), { withChildren: true }), /night5.vmi' is protected/)
    await setProtected(at('night5.vmi'), false)
    const removed = await forget(at('night3.vma'), { withChildren: true })
    assert.deepEqual(
      removed.map(({ name }) => name),
      ['night5.vmi', 'night4.vmi', 'night3.vma'],
    )
    assert.deepEqual(names(), ['night0.vma', 'night1.vmi', 'night2.vmi'])
    await assert.rejects(forget(at('night3.vma')), /there is no archive/)
    for (const odd of ['exec:cat', at('readme.txt'), at('night0.vma.notes')])
      await assert.rejects(forget(odd), { code: 'USAGE' }, odd)
    assert.deepEqual(names(), ['night0.vma', 'night1.vmi', 'night2.vmi'])
  })
})
