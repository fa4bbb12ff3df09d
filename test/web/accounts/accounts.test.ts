import assert from 'node:assert/strict'
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Accounts } from '../../../src/web/accounts/accounts.ts'
import { AuditLog } from '../../../src/web/accounts/audit.ts'
import { Links } from '../../../src/web/accounts/links.ts'
import { Passwords, usualCost } from '../../../src/web/accounts/password.ts'
import { tmpDir } from '../../support/tmp.ts'
import { QUICK_COST } from '../../support/web.ts'

describe('passwords', () => {
  test('are kept as scrypt with its parameters and a salt of their own', async () => {
    const passwords = new Passwords(QUICK_COST)
    const [one, two] = [await passwords.hash('correct horse'), await passwords.hash('correct horse')]
    assert.notEqual(one.key, two.key)
    assert.ok(await passwords.check('correct horse', one))
    assert.ok(!(await passwords.check('Correct horse', one)))
    assert.ok(!(await passwords.check('', one)))
    assert.ok(!(await passwords.check('correct horse', null)))
    // One letter, two ways to write it.
    assert.ok(await passwords.check('cafe\u0301 au lait', await passwords.hash('café au lait')))
    assert.deepEqual(usualCost(2 ** 34), { n: 2 ** 17, r: 8, p: 1 })
    assert.deepEqual(usualCost(2 ** 29), { n: 2 ** 15, r: 8, p: 3 })
  })

  test('of the usual cost can be checked, also those of another cost', async () => {
    const hash = await new Passwords({ n: 2 ** 14, r: 8, p: 1 }).hash('correct horse')
    assert.ok(await new Passwords().check('correct horse', hash))
    const usual = new Passwords()
    assert.ok(await usual.check('correct horse', await usual.hash('correct horse')))
  })

  test('a name that is not there costs what one costs that is', async () => {
    const passwords = new Passwords({ n: 2 ** 14, r: 8, p: 1 })
    const hash = await passwords.hash('correct horse')
    await passwords.prepare()
    const cost = async (given: typeof hash | null) => {
      const { user } = process.cpuUsage()
      for (let i = 0; i < 5; i++) await passwords.check('wrong horse', given)
      return process.cpuUsage().user - user
    }
    await cost(hash)
    const [known, unknown] = [await cost(hash), await cost(null)]
    assert.ok(unknown > known * 0.5 && unknown < known * 2, `${known} and ${unknown} µs of a processor`)
  })

  test('many at once are refused rather than filling the memory', async () => {
    const passwords = new Passwords({ n: 2 ** 14, r: 8, p: 1 })
    const results = await Promise.allSettled(Array.from({ length: 40 }, () => passwords.hash('correct horse')))
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 18)
    assert.ok(await passwords.check('x', await passwords.hash('x')), 'and it goes on')
  })
})

describe('accounts', () => {
  const open = (folder: string) => new Accounts({ folder, cost: QUICK_COST }).open()

  test('are in a file that only its owner reads, without passwords', async (t) => {
    const folder = join(tmpDir(t), 'web')
    const accounts = await open(folder)
    await accounts.add('alice', 'correct horse battery', 'operate')
    const path = join(folder, 'accounts.json')
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.equal(statSync(folder).mode & 0o777, 0o700)
    assert.ok(!readFileSync(path, 'utf8').includes('horse'))
    assert.deepEqual(
      (await accounts.list()).map(({ name, role }) => [name, role]),
      [['alice', 'operate']],
    )
    assert.ok(!JSON.stringify(await accounts.list()).includes('salt'))
    assert.equal((await accounts.signIn('alice', 'correct horse battery'))?.role, 'operate')
    assert.equal(await accounts.signIn('alice', 'correct horse'), null)
    assert.equal(await accounts.signIn('__proto__', 'correct horse battery'), null)
    assert.equal(await accounts.state('constructor'), null)
  })

  test('refuse odd names and short passwords, and do not guess what is meant', async (t) => {
    const accounts = await open(join(tmpDir(t), 'web'))
    for (const name of ['', '__proto__', '-x', 'a b', 'a\nb', 'ä', 'x'.repeat(65), '../x'])
      await assert.rejects(accounts.add(name, 'correct horse battery', 'look'), { code: 'USAGE' }, name)
    await assert.rejects(accounts.add('bob', 'elevenchars', 'look'), /at least 12 characters/)
    await assert.rejects(accounts.add('bob', 'x'.repeat(1025), 'look'), /at most 1024/)
    await accounts.add('bob', '🐧'.repeat(12), 'look')
    await assert.rejects(accounts.add('bob', 'correct horse battery', 'look'), /already/)
    await assert.rejects(accounts.remove('carol'), /no account 'carol'/)
    await assert.rejects(accounts.change('carol', { role: 'look' }), /no account 'carol'/)
  })

  test('are changed by many at once without losing any, and seen by others at once', async (t) => {
    const folder = join(tmpDir(t), 'web')
    const several = await Promise.all(Array.from({ length: 4 }, () => open(folder)))
    await Promise.all(
      Array.from({ length: 12 }, (_, i) => several[i % 4].add(`user${i}`, 'correct horse battery', 'look')),
    )
    for (const one of several) assert.equal((await one.list()).length, 12)
    const before = await several[0].state('user3')
    await several[1].change('user3', { role: 'administer' })
    assert.deepEqual(await several[0].state('user3'), { ...before, role: 'administer' })
    await several[1].change('user3', { password: 'another password' })
    assert.notEqual((await several[0].state('user3'))!.stamp, before!.stamp)
    await several[2].remove('user3')
    assert.equal(await several[0].state('user3'), null)
  })

  test('in a damaged file are an error, and not nobody', async (t) => {
    const folder = join(tmpDir(t), 'web')
    await (await open(folder)).add('alice', 'correct horse battery', 'look')
    for (const text of ['{', '{"version":2,"accounts":{}}', '{"version":1,"accounts":{"a":{"role":"root"}}}', '']) {
      writeFileSync(join(folder, 'accounts.json'), text)
      await assert.rejects(open(folder), { code: 'CONFIG' })
    }
  })
})

describe('one-time links', () => {
  test('are files named by a hash, which are gone when they were used', async (t) => {
    const folder = join(tmpDir(t), 'web')
    let now = 1000
    const links = new Links(folder, () => now)
    const { token, id } = await links.make('operate')
    const [file] = readdirSync(join(folder, 'links'))
    assert.ok(!file.includes(token) && !readFileSync(join(folder, 'links', file), 'utf8').includes(token))
    assert.equal(statSync(join(folder, 'links', file)).mode & 0o777, 0o600)
    const used = await Promise.all(Array.from({ length: 5 }, () => new Links(folder, () => now).use(token)))
    assert.deepEqual(
      used.filter((one) => one !== null),
      [{ id, role: 'operate' }],
    )
    assert.deepEqual(readdirSync(join(folder, 'links')), [])
    const late = await links.make('look')
    now += 600_000
    assert.equal(await links.use(late.token), null)
    await links.make('look')
    now += 600_000
    await links.make('look')
    assert.equal(readdirSync(join(folder, 'links')).length, 1, 'those that have expired are removed')
  })
})

describe('the audit log as a file', () => {
  const row = { who: 'alice', from: '192.0.2.1', what: 'start', outcome: 'done' } as const

  test('is rotated by size, and can be read across its files', async (t) => {
    const folder = tmpDir(t)
    const log = new AuditLog({ folder, mostBytes: 2000 })
    for (let i = 0; i < 40; i++) await log.add({ ...row, detail: `number ${i}` })
    const files = readdirSync(folder).filter((name) => name.startsWith('audit'))
    assert.ok(files.length >= 3 && files.length <= 5)
    for (const name of files) assert.ok(statSync(join(folder, name)).size <= 2000)
    const rows = await log.read({ most: 25 })
    assert.deepEqual(
      rows.map(({ detail }) => detail),
      Array.from({ length: 25 }, (_, i) => `number ${39 - i}`),
    )
    const next = await log.read({ before: rows[9].at, most: 3 })
    assert.deepEqual(
      next.map(({ detail }) => detail),
      ['number 29', 'number 28', 'number 27'],
    )
    for (let i = 0; i < 200; i++) await log.add({ ...row, detail: `number ${i}` })
    assert.equal(readdirSync(folder).filter((name) => name.startsWith('audit')).length, 5, 'and the oldest is removed')
  })

  test('keeps what others did, though one user asks ten thousand times for what is refused', async (t) => {
    let time = 1_700_000_000_000
    const log = new AuditLog({ folder: tmpDir(t), mostBytes: 4000, now: () => time })
    await log.add({ ...row, detail: 'what alice did' })
    for (let i = 0; i < 10_000; i++)
      await log.add({ ...row, who: 'mallory', outcome: i % 2 ? 'refused' : 'failed', detail: '' })
    await log.add({ ...row, who: 'bob', outcome: 'refused', detail: 'what bob could not' })
    assert.equal((await log.read({ most: 500 })).length, 32)
    time += 6000
    await log.add({ ...row, who: 'mallory', outcome: 'refused', detail: 'again' })
    const rows = await log.read({ most: 500 })
    assert.deepEqual(
      [rows[0].detail, rows[1].detail, rows.at(-1)!.detail],
      ['again (9970 lines before it were left out)', 'what bob could not', 'what alice did'],
    )
  })

  test('goes on behind a line that was cut, and says once if it cannot be written', async (t) => {
    const folder = tmpDir(t)
    const warnings: string[] = []
    const log = new AuditLog({ folder, warn: (message) => void warnings.push(message) })
    await log.add({ ...row, detail: 'whole' })
    writeFileSync(join(folder, 'audit.jsonl'), '{"at":"2020', { flag: 'a' })
    assert.deepEqual(
      (await log.read()).map(({ detail }) => detail),
      ['whole'],
    )
    const other = join(folder, 'file')
    writeFileSync(other, '')
    chmodSync(other, 0o600)
    const broken = new AuditLog({ folder: other, warn: (message) => void warnings.push(message) })
    await broken.add({ ...row, detail: 'lost' })
    await broken.add({ ...row, detail: 'lost, too' })
    assert.equal(warnings.length, 1)
    assert.equal(broken.isBroken, true)
  })
})
