import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { shellText } from '../../../src/web/host/command.ts'
import type { House, RestoreForm } from '../../../src/web/house.ts'
import { ended, HOST, type Hosted, hosted, runOn, until } from './hosted.ts'

const timeout = 180_000

const EVIL = `<img src=x onerror=alert(1)>'"; touch PWNED; $(touch PWNED) \`touch PWNED\``

/** A host with one archive, which may be restored to `allowed`. */
async function withArchive(
  t: TestContext,
  guest = 'web',
): Promise<{ host: Hosted; house: House; id: string; disk: string }> {
  const host = hosted(t)
  const disk = host.disk('disk')
  host.job('nightly', { [guest]: disk })
  mkdirSync(join(host.dir, 'allowed'))
  const house = await host.open(t, { restoreTo: [join(host.dir, 'allowed')] })
  assert.equal((await runOn(house, 'nightly')).outcome, 'all')
  const [{ id }] = await until(async () => {
    const all = await house.archives({})
    return all.length > 0 && all
  }, 'the archive')
  return { host, house, id, disk }
}

describe('hostile names', () => {
  test('a guest with a name of shell and markup is started, shown, noted and restored as it is', {
    timeout,
  }, async (t) => {
    const { host, house, id, disk } = await withArchive(t, EVIL)
    const [row] = await house.archives({ guest: EVIL })
    assert.equal(row.guest, EVIL)
    const own = (await house.guests()).filter(({ jobs }) => jobs.length > 0)
    assert.deepEqual(
      own.map(({ guest }) => guest),
      [EVIL],
    )
    const run = await house.act({ do: 'start', host: HOST, job: 'nightly', guests: [EVIL], full: true }, EVIL)
    const report = await until(() => house.report(HOST, 'nightly', run!), 'the report')
    assert.deepEqual(
      report.guests.map(({ guest, outcome }) => [guest, outcome]),
      [[EVIL, 'done']],
    )
    await house.act({ do: 'note', host: HOST, archive: id, text: EVIL }, 'ann')
    const target = join(host.dir, 'allowed', `${EVIL.replaceAll('/', '')}.raw`)
    const form = { host: HOST, archive: id, drives: { 'drive-scsi0': target } }
    const task = await ended(house, await house.act({ do: 'restore', form }, 'ann'))
    assert.equal(task.state, 'done', task.lines.join('\n'))
    assert.deepEqual(readFileSync(target), readFileSync(disk))
    const all = readdirSync(host.dir, { recursive: true, encoding: 'utf8' })
    assert.deepEqual(
      all.filter((name) => name.endsWith('PWNED') || existsSync('PWNED')),
      [],
    )
  })

  test('guests that the job does not have, and words that no command takes, are refused', { timeout }, async (t) => {
    const { house, id } = await withArchive(t)
    for (const guest of ['--help', '-', '../web', 'web\0', 'no\ud800', ''])
      await assert.rejects(
        house.act({ do: 'start', host: HOST, job: 'nightly', guests: [guest] }, 'ann'),
        ({ code }) => code === 'USAGE' || code === 'FAILED',
        JSON.stringify(guest),
      )
    for (const job of ['../nightly', 'nightly.yaml', '/etc/passwd', '--help', ''])
      await assert.rejects(house.act({ do: 'start', host: HOST, job }, 'ann'), { code: 'USAGE' })
    await assert.rejects(house.act({ do: 'note', host: HOST, archive: id, text: 'a\0b' }, 'ann'), { code: 'USAGE' })
    await assert.rejects(house.act({ do: 'note', host: HOST, archive: id, text: 'x'.repeat(20_000) }, 'ann'), {
      code: 'USAGE',
    })
  })

  test('ids, paths and hosts from a browser lead nowhere', { timeout }, async (t) => {
    const { host, house, id } = await withArchive(t)
    const [{ place }] = (await house.report(
      HOST,
      'nightly',
      (
        await house.runs({ since: '' })
      )[0].run,
    ))!.guests[0].places.map((text) => ({ place: text }))
    for (const wrong of ['', '../../etc/passwd', '/etc/passwd', place, `${id}/..`, '__proto__', 'constructor']) {
      for (const action of ['verify', 'boot'] as const)
        await assert.rejects(house.act({ do: action, host: HOST, archive: wrong }, ''), { code: 'USAGE' })
      await assert.rejects(house.content(HOST, wrong), { code: 'USAGE' })
      await assert.rejects(house.picture(HOST, wrong), { code: 'USAGE' })
      await assert.rejects(house.files(HOST, wrong, '/'), { code: 'USAGE' })
      await assert.rejects(house.download({ host: HOST, archive: wrong, drive: 'x' }, new AbortController().signal), {
        code: 'USAGE',
      })
    }
    await assert.rejects(house.act({ do: 'verify', host: 'other', archive: id }, ''), { code: 'USAGE' })
    await assert.rejects(house.act({ do: 'drain', host: HOST, on: true }, ''), { code: 'USAGE' })
    for (const [job, run] of [
      ['nightly', '../../../../etc/passwd'],
      ['..', 'x'],
      ['nightly/../nightly', 'x'],
      ['__proto__', '__proto__'],
    ])
      assert.equal(await house.report(HOST, job, run), null)
    assert.deepEqual(await house.archives({ host: 'other' }), [])
    void host
  })

  test('pictures are only our own files beside an archive, and only PNG', { timeout }, async (t) => {
    const { host, house, id } = await withArchive(t)
    const [{ name }] = await house.archives({})
    const folder = join(host.place, 'web')
    const at = new Date().toISOString()
    const note = (file: string) =>
      writeFileSync(
        join(folder, `${name}.checks`),
        JSON.stringify({ version: 1, checks: [{ kind: 'boot', at, passed: true, detail: EVIL, file }] }),
      )
    const shown = async () => {
      await house.act({ do: 'rescan' }, '')
      const [row] = await house.archives({})
      return [row.checks[0]?.picture, (await house.picture(HOST, id))?.length ?? null]
    }
    const picture = Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), Buffer.alloc(100)])
    writeFileSync(join(folder, 'other.png'), picture)
    note('other.png')
    assert.deepEqual(await shown(), [false, null])
    writeFileSync(join(folder, `${name}.boot.png`), '<svg onload=alert(1)>')
    note(`${name}.boot.png`)
    assert.deepEqual(await shown(), [true, null])
    writeFileSync(join(folder, `${name}.boot.png`), picture)
    assert.deepEqual(await shown(), [true, picture.length])
    writeFileSync(join(folder, `${name}.boot.png`), Buffer.concat([picture, Buffer.alloc(20 << 20)]))
    assert.deepEqual(await shown(), [true, null])
  })
})

describe('the form of a restore', () => {
  test('takes new targets in the folders that were allowed alone', { timeout }, async (t) => {
    const { host, house, id } = await withArchive(t)
    const { dir } = host
    const allowed = join(dir, 'allowed')
    mkdirSync(join(dir, 'outside'))
    writeFileSync(join(allowed, 'there.raw'), '')
    symlinkSync(join(dir, 'outside'), join(allowed, 'out'))
    symlinkSync(join(dir, 'outside/guest.raw'), join(allowed, 'dangling.raw'))
    symlinkSync(allowed, join(dir, 'in'))
    const wrong = [
      ...['', 'x.raw', './x.raw', '../x.raw', `${allowed}/../x.raw`, `${allowed}//x.raw`, `${allowed}/x.raw/`],
      ...[`${allowed}/there.raw`, `${allowed}/dangling.raw`, `${allowed}/out/x.raw`, `${allowed}/none/x.raw`],
      ...[
        `${dir}/x.raw`,
        `${dir}/allowed2`,
        '/dev/sda',
        '/dev/null',
        `${allowed}/a\nb`,
        `${allowed}/a\u202eb`,
        `${allowed}/a\0`,
      ],
      ...[`qcow2:${allowed}/x`, 'nbd://example.com/x', 'exec:id', `${allowed}/${'x'.repeat(4000)}`],
    ]
    for (const target of wrong) {
      const form = { host: HOST, archive: id, drives: { 'drive-scsi0': target } }
      await assert.rejects(house.act({ do: 'restore', form }, ''), { code: 'USAGE' }, target)
    }
    const drives = { 'drive-scsi0': join(allowed, 'x.raw') }
    for (const form of [
      { drives: {} },
      { drives: { 'drive-scsi9': join(allowed, 'x.raw') } },
      { drives: { __proto__: join(allowed, 'x.raw') } },
      { drives, qemu: { folder: join(allowed, 'vm') } },
      { drives: {}, qemu: { folder: join(dir, 'vm') } },
      { drives: {}, qemu: { folder: allowed } },
      { drives: {}, domain: { name: '--force', folder: join(allowed, 'vm') } },
      { drives: {}, domain: { name: '../x', folder: join(allowed, 'vm') } },
      { drives: {}, domain: { name: 'x\n', folder: join(allowed, 'vm') } },
      { drives: {}, domain: { name: 'x', folder: '/var/lib/vm' } },
    ] as Partial<RestoreForm>[])
      await assert.rejects(
        house.act({ do: 'restore', form: { host: HOST, archive: id, drives: {}, ...form } }, ''),
        { code: 'USAGE' },
        JSON.stringify(form),
      )
    assert.deepEqual(readdirSync(join(dir, 'outside')), [])
    // A folder that is reached by another name is the folder that it is.
    const form = { host: HOST, archive: id, drives: { 'drive-scsi0': join(dir, 'in', 'good.raw') } }
    const task = await ended(house, await house.act({ do: 'restore', form }, ''))
    assert.equal(task.state, 'done', task.lines.join('\n'))
    assert.ok(existsSync(join(allowed, 'good.raw')))
  })

  test('without an allowed folder nothing is restored, and the page says how', { timeout }, async (t) => {
    const host = hosted(t)
    host.job('nightly', { web: host.disk('web') })
    const house = await host.open(t)
    await runOn(house, 'nightly')
    const [{ id }] = await until(async () => {
      const all = await house.archives({})
      return all.length > 0 && all
    }, 'the archive')
    assert.ok(!house.abilities.actions.includes('restore'))
    assert.match(house.abilities.why.restore!, /--restore-to/)
    const form = { host: HOST, archive: id, drives: { 'drive-scsi0': join(host.dir, 'x.raw') } }
    await assert.rejects(house.act({ do: 'restore', form }, ''), { code: 'USAGE' })
    assert.match(await house.restoreCommand(form), /^vmapipe restore --drive=drive-scsi0=/)
  })

  test('has a command that a shell reads as the very same words', { timeout }, async (t) => {
    const { host, house, id, disk } = await withArchive(t, `it's $HOME "web"`)
    const target = join(host.dir, 'allowed', `it's "new" $HOME \\ *.raw`)
    const forms: Partial<RestoreForm>[] = [
      { drives: { 'drive-scsi0': target } },
      { drives: { 'drive-scsi0': join(host.dir, 'allowed/x.qcow2') } },
      { domain: { name: 'new web-1', folder: join(host.dir, 'allowed', 'vm $(id)') } },
      { qemu: { folder: join(host.dir, 'allowed', "vm 'x'") } },
    ]
    // Words one a line, as the shell gives them to the program.
    const bin = join(host.dir, 'bin')
    mkdirSync(bin)
    writeFileSync(join(bin, 'vmapipe'), '#!/bin/sh\nprintf "%s\\n" "$@"\n', { mode: 0o755 })
    for (const form of forms) {
      const whole = { host: HOST, archive: id, drives: {}, ...form }
      const command = await house.restoreCommand(whole)
      const words = execFileSync('sh', ['-c', command], { env: { PATH: `${bin}:${process.env.PATH}`, HOME: '/root' } })
      const started = await house.act({ do: 'restore', form: whole }, '')
      const task = await ended(house, started)
      assert.equal(task.lines[0], `$ ${command}`)
      const [, ...rest] = command.split(' ')
      assert.ok(rest.length > 2)
      assert.equal(shellText(['vmapipe', ...words.toString().trimEnd().split('\n')]), command)
      if (form.drives !== undefined) assert.equal(task.state, 'done', task.lines.join('\n'))
      // The archive of a disk at rest does not say what machine it was in.
      else assert.deepEqual([task.state, existsSync(words.toString().trimEnd().split('\n').at(-1)!)], ['failed', false])
    }
    assert.deepEqual(readFileSync(target), readFileSync(disk))
    const format = execFileSync('qemu-img', ['info', join(host.dir, 'allowed/x.qcow2')]).toString()
    assert.match(format, /file format: qcow2/)
  })

  test('of an archive whose name a terminal would obey is refused', { timeout }, async (t) => {
    const { host, house } = await withArchive(t)
    const [{ name }] = await house.archives({})
    copyFileSync(join(host.place, 'web', name), join(host.place, 'web', 'x\u001b]0;x\n.vma.zst'))
    await house.act({ do: 'rescan' }, '')
    const strange = (await house.archives({})).find((row) => row.name !== name)!
    const form = { host: HOST, archive: strange.id, drives: { 'drive-scsi0': join(host.dir, 'allowed/x.raw') } }
    await assert.rejects(house.restoreCommand(form), { code: 'USAGE', message: /not shown/ })
    const task = await ended(house, await house.act({ do: 'verify', host: HOST, archive: strange.id }, ''))
    assert.equal(task.state, 'done', task.lines.join('\n'))
  })
})
