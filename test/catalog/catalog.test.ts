import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { readAnnotations, recordCheck, setNotes, setProtected } from '../../src/catalog/annotations.ts'
import { readCatalog } from '../../src/catalog/catalog.ts'
import { pathOfIndex } from '../../src/catalog/index-file.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { makePlace, SmallGuest } from './places.ts'

const timeout = 120_000
/** A time that is long ago, so that the index takes files at once. */
const LONG_AGO = new Date('2026-01-01T00:00:00Z')

/** Makes every file of the place old. */
function settle(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) settle(path)
    else utimesSync(path, LONG_AGO, LONG_AGO)
  }
}

suite('the catalog of a place', { timeout }, () => {
  test('knows the archives of a folder and of the folders in it', async (t) => {
    const { place, disks } = makePlace(t)
    mkdirSync(join(place, 'web'))
    const web = new SmallGuest(disks, 'web')
    const db = new SmallGuest(disks, 'db')
    await web.backup(join(place, 'web/full.vmi.zst'), { ctime: 1000 })
    web.write(3)
    await web.backup(join(place, 'web/night.vmi.zst'), { ctime: 2000 })
    await db.backup(join(place, 'db.vmi'), { ctime: 1500 })
    writeFileSync(join(place, 'vzdump-qemu-100-2026_01_01-00_00_00.log'), 'not an archive')
    writeFileSync(join(place, 'broken.vma'), 'no archive at all')
    writeFileSync(join(place, 'web/.hidden.vma'), '')
    const found = await readCatalog(place)
    const short = found.map(({ guest, ctime, kind, name, parent, unreadable }) => [
      name,
      guest,
      ctime,
      kind,
      parent !== null,
      unreadable !== undefined,
    ])
    assert.deepEqual(short, [
      ['broken.vma', null, 0, 'full', false, true],
      ['db.vma', 'db', 1500, 'full', false, false],
      ['full.vma.zst', 'web', 1000, 'full', false, false],
      ['night.vmi.zst', 'web', 2000, 'incremental', true, false],
    ])
    assert.equal(found[3].parent, found[2].uuid)
    assert.equal(found[3].place, join(place, 'web/night.vmi.zst'))
    assert.equal(found[2].size, readFileSync(join(place, 'web/full.vma.zst')).length)
  })

  test('shows an encrypted archive without its key as far as it is known, and all of it with the key', async (t) => {
    const { place, disks } = makePlace(t)
    const guest = new SmallGuest(disks, 'web')
    const { generateIdentity, identityToRecipient } = await import('age-encryption')
    const identity = await generateIdentity()
    await guest.backup(join(place, 'x.vma.age'), {
      since: undefined,
      guest: undefined,
      encrypt: { recipients: [await identityToRecipient(identity)] },
    })
    settle(place)
    const [sealed] = await readCatalog(place)
    assert.deepEqual([sealed.name, sealed.encrypted, sealed.uuid], ['x.vma.age', true, ''])
    assert.match(sealed.unreadable!, /encrypted/)
    const file = join(disks, 'key')
    writeFileSync(file, `${identity}\n`)
    const [open] = await readCatalog(place, { keys: new Keyring({ identities: [file] }) })
    assert.deepEqual([open.encrypted, open.unreadable], [true, undefined])
  })

  test('keeps notes, protection and checks beside the archive, as Proxmox names them', async (t) => {
    const { place, disks } = makePlace(t)
    const archive = join(place, 'x.vma')
    await new SmallGuest(disks, 'web').backup(join(place, 'x.vmi'))
    assert.deepEqual(await readAnnotations(archive), { protected: false, notes: null, checks: [] })
    await setProtected(archive, true)
    await setNotes(archive, 'before the upgrade\nof the kernel')
    const first = { kind: 'verify' as const, at: '2026-11-28T00:00:00Z', passed: false, detail: 'damaged' }
    const second = { kind: 'verify' as const, at: '2026-11-29T00:00:00Z', passed: true }
    const boot = { kind: 'boot' as const, at: '2026-11-29T01:00:00Z', passed: true, file: 'x.vma.boot.png' }
    for (const check of [first, boot, second]) await recordCheck(archive, check)
    assert.equal(readFileSync(`${archive}.notes`, 'utf8'), 'before the upgrade\nof the kernel')
    assert.equal(readFileSync(`${archive}.protected`).length, 0)
    const all = { protected: true, notes: 'before the upgrade\nof the kernel', checks: [boot, second] }
    assert.deepEqual(await readAnnotations(archive), all)
    const [{ protected: mark, notes, checks }] = await readCatalog(place)
    assert.deepEqual({ protected: mark, notes, checks }, all)
    await setProtected(archive, false)
    await setNotes(archive, null)
    assert.deepEqual(await readAnnotations(archive), { protected: false, notes: null, checks: [boot, second] })
    await assert.rejects(setProtected(join(place, 'missing.vma'), true), /there is no archive/)
    await assert.rejects(setNotes('exec:cat', 'x'), /nothing can be kept beside/)
  })

  test('checks that end at once fail no check, and leave a file that is whole', async (t) => {
    const { place, disks } = makePlace(t)
    const archive = join(place, 'x.vma')
    await new SmallGuest(disks, 'web').backup(join(place, 'x.vmi'))
    const at = '2026-11-28T00:00:00Z'
    const kinds = ['verify', 'boot', 'sample'] as const
    const checks = kinds.map((kind) => ({ kind, at, passed: true }))
    await Promise.all([...checks, ...checks, ...checks].map((check) => recordCheck(archive, check)))
    assert.deepEqual((await readAnnotations(archive)).checks, checks)
    const program = `import { recordCheck } from ${JSON.stringify(import.meta.resolve('../../src/catalog/annotations.ts'))}
      for (let i = 0; i < 40; i++) await recordCheck(${JSON.stringify(archive)}, ${JSON.stringify(checks[0])})`
    const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
    await Promise.all([run(), run(), run(), run()])
    assert.ok((await readAnnotations(archive)).checks.some(({ kind }) => kind === 'verify'))
    assert.deepEqual(readdirSync(place).sort(), ['x.vma', 'x.vma.checks'])
  })

  test('a link that has the name of a file of checks or notes is replaced, not what it leads to', async (t) => {
    const { place, disks } = makePlace(t)
    const archive = join(place, 'x.vma')
    await new SmallGuest(disks, 'web').backup(join(place, 'x.vmi'))
    const other = join(disks, 'other')
    writeFileSync(other, 'not ours')
    for (const [name, target] of [
      ['checks', other],
      ['notes', '/dev/null'],
      ['protected', join(disks, 'missing')],
    ]) {
      symlinkSync(target, `${archive}.${name}`)
    }
    await recordCheck(archive, { kind: 'verify', at: '2026-11-28T00:00:00Z', passed: true })
    await setNotes(archive, 'ours')
    await setProtected(archive, true)
    for (const name of ['checks', 'notes', 'protected']) assert.ok(lstatSync(`${archive}.${name}`).isFile(), name)
    assert.equal(readFileSync(other, 'utf8'), 'not ours')
    assert.equal(existsSync(join(disks, 'missing')), false)
  })

  test('takes what strangers have written beside an archive for what it is', async (t) => {
    const { place, disks } = makePlace(t)
    await new SmallGuest(disks, 'web').backup(join(place, 'x.vmi'))
    const file = join(place, 'x.vma.checks')
    for (const text of [
      '',
      '{',
      'null',
      '{"version":2,"checks":[]}',
      '{"version":1,"checks":[{"kind":"other"},1,null]}',
    ]) {
      writeFileSync(file, text)
      assert.deepEqual((await readCatalog(place))[0].checks, [], text)
    }
    const good = { kind: 'verify', at: '2026-11-28T00:00:00Z', passed: true }
    writeFileSync(file, JSON.stringify({ version: 1, checks: [good, { ...good, file: '../../etc/passwd' }] }))
    assert.deepEqual((await readCatalog(place))[0].checks, [good])
    writeFileSync(join(place, 'x.vma.notes'), Buffer.alloc(1 << 20, 'x'))
    const warnings: string[] = []
    const [{ notes }] = await readCatalog(place, { warn: (text) => warnings.push(text) })
    assert.equal(notes, null)
    assert.match(warnings.join(), /is not what its name says/)
  })

  test('refuses a place that cannot list, and one that is not there', async (t) => {
    const { place } = makePlace(t)
    for (const spec of ['exec:ls', '-', '']) await assert.rejects(readCatalog(spec), { code: 'USAGE' }, spec)
    await assert.rejects(readCatalog(join(place, 'missing')), { code: 'FAILED' })
    writeFileSync(join(place, 'file'), '')
    await assert.rejects(readCatalog(join(place, 'file')), { code: 'USAGE' })
    assert.deepEqual(await readCatalog(`${place}/`), [])
  })
})

suite('the index of a place', { timeout }, () => {
  /** A place with an index that knows one archive, which is damaged afterwards in a way that only reading shows. */
  async function indexed(t: Parameters<typeof makePlace>[0]) {
    const { place, disks } = makePlace(t)
    const archive = join(place, 'x.vma')
    await new SmallGuest(disks, 'web').backup(join(place, 'x.vmi'), { ctime: 1000 })
    settle(place)
    const read = async () => {
      let headers = 0
      const entries = await readCatalog(place, { onProgress: (_, all) => (headers = Math.max(headers, all)) })
      return { headers, entries }
    }
    const first = await read()
    assert.equal(first.headers, 1)
    return { place, archive, read, entries: first.entries, index: pathOfIndex(place) }
  }

  test('is used while name, size and time of a file are the same', async (t) => {
    const { archive, read, entries, place } = await indexed(t)
    assert.deepEqual(await read(), { headers: 0, entries })
    utimesSync(archive, new Date(), new Date('2026-01-02T00:00:00Z'))
    assert.equal((await read()).headers, 1)
    appendFileSync(archive, 'x')
    utimesSync(archive, new Date(), new Date('2026-01-02T00:00:00Z'))
    assert.equal((await read()).headers, 1)
    renameSync(archive, join(place, 'y.vma'))
    assert.equal((await read()).headers, 1)
    assert.equal((await read()).headers, 0)
  })

  test('does not trust the time of a file that has just been written', async (t) => {
    const { archive, read } = await indexed(t)
    utimesSync(archive, new Date(), new Date())
    assert.equal((await read()).headers, 1)
    assert.equal((await read()).headers, 1)
  })

  test('is made anew when it is lost, damaged, of another place or writable by others', async (t) => {
    const { read, entries, index, place } = await indexed(t)
    const good = readFileSync(index, 'utf8')
    const texts = [
      '',
      '\n',
      'null\n',
      good.slice(0, -20),
      good.slice(0, 60),
      good.replace('1000', '1001'),
      good.replace(place, '/else'),
      `${good}x`,
    ]
    for (const text of texts) {
      writeFileSync(index, text)
      assert.deepEqual(await read(), { headers: 1, entries }, text)
      assert.equal((await read()).headers, 0)
    }
    chmodSync(index, 0o666)
    assert.equal((await read()).headers, 1)
    assert.equal((await read()).headers, 0)
  })

  test('is optional: if it cannot be kept, a warning says so', async (t) => {
    const { place, read, entries, index } = await indexed(t)
    const cache = join(process.env.XDG_CACHE_HOME!, 'vmapipe')
    renameSync(cache, `${cache}-gone`)
    writeFileSync(cache, 'no folder')
    assert.ok(!existsSync(index))
    const warnings: string[] = []
    assert.deepEqual(await readCatalog(place, { warn: (text) => warnings.push(text) }), entries)
    assert.match(warnings.join(), /the index of '.*' is not kept/)
    assert.equal((await read()).headers, 1)
  })

  test('may be written by several runs at once', async (t) => {
    const { place, archive, entries, index } = await indexed(t)
    for (let copy = 0; copy < 20; copy++) copyFileSync(archive, join(place, `copy-${copy}.vma`))
    settle(place)
    const all = await Promise.all(Array.from({ length: 8 }, () => readCatalog(place)))
    for (const one of all) assert.equal(one.length, entries.length + 20)
    let headers = 0
    await readCatalog(place, { onProgress: (_, missing) => (headers = missing) })
    assert.equal(headers, 0)
    assert.ok(existsSync(index))
  })
})
