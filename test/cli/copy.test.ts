import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { makeChain, written } from '../support/chain.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { startCli, vmapipe } from './cli.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
const hooks: (() => void)[] = []
after(() => {
  for (const hook of hooks.reverse()) hook()
  rmSync(dir, { recursive: true, force: true })
})
const place = (name: string) => join(dir, name)
const archive = place('vm.vma')
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
writeFileSync(place('key.txt'), identity)
writeFileSync(
  place('disk.raw'),
  createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(24 << 20)),
)
assert.equal((await vmapipe(['backup', '-d', `a=${place('disk.raw')}`, '-o', archive])).code, 0)
const ssh = (await startSshd({ after: (hook?: unknown) => void hooks.push(hook as () => void) })).home

const copy = (...args: string[]) => vmapipe(['copy', ...args])
const same = (one: string, other: string) => readFileSync(one).equals(readFileSync(other))

describe('copy', { timeout: 120_000 }, () => {
  test('to a file, over ssh and back: the same bytes, and nothing is left beside them', async () => {
    const done = await copy(archive, place('copy.vma'))
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stderr, /written, the copy is whole/)
    assert.ok(same(archive, place('copy.vma')))
    assert.ok(!existsSync(place('copy.vma.copying')))
    assert.equal((await copy(archive, `ssh://${SSH_HOST}${ssh}/far.vma`)).code, 0)
    assert.ok(same(archive, join(ssh, 'far.vma')))
    assert.equal((await copy(`ssh://${SSH_HOST}${ssh}/far.vma`, place('back.vma'))).code, 0)
    assert.ok(same(archive, place('back.vma')))
  })

  test('what is there already is not copied again; another archive of the name is not replaced', async () => {
    writeFileSync(place('there.vma'), readFileSync(archive))
    const again = await copy(archive, place('there.vma'))
    assert.equal(again.code, 0, again.stderr)
    assert.match(again.stderr, /was there already/)
    writeFileSync(place('other.vma'), 'another')
    assert.equal((await copy(archive, place('other.vma'))).code, 1)
    assert.equal(readFileSync(place('other.vma'), 'utf8'), 'another')
    assert.equal((await copy(archive, place('other.vma'), '--force')).code, 0)
    assert.ok(same(archive, place('other.vma')))
  })

  test('a damaged archive is not copied: exit code 3, and nothing is left', async () => {
    const bytes = readFileSync(archive)
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(place('damaged.vma'), bytes)
    const done = await copy(place('damaged.vma'), place('copied.vma'))
    assert.equal(done.code, 3)
    assert.ok(!existsSync(place('copied.vma')))
    assert.ok(!existsSync(place('copied.vma.copying')))
  })

  test('a copy that was killed goes on behind what it has written', async () => {
    const child = startCli(['copy', archive, place('slow.vma'), '--bwlimit', '6MiB/s'])
    const part = place('slow.vma.copying')
    for (;;) {
      if (existsSync(part) && statSync(part).size > 3 << 20) break
      await sleep(20)
    }
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('close', resolve))
    assert.ok(!existsSync(place('slow.vma')))
    const left = statSync(part).size
    const done = await copy(archive, place('slow.vma'))
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stderr, /are there from an interrupted copy/)
    assert.ok(same(archive, place('slow.vma')))
    assert.ok(left < statSync(archive).size)
    // What is there of another archive is not used.
    writeFileSync(place('strange.vma.copying'), Buffer.alloc(1 << 20, 7))
    assert.equal((await copy(archive, place('strange.vma'))).code, 0)
    assert.ok(same(archive, place('strange.vma')))
  })

  test('damage in what is there from before is found, and the next copy begins again', async () => {
    const bytes = readFileSync(archive).subarray(0, 5 << 20)
    bytes[2 << 20] ^= 1
    writeFileSync(place('rotten.vma.copying'), bytes)
    assert.equal((await copy(archive, place('rotten.vma'))).code, 3)
    assert.ok(!existsSync(place('rotten.vma')))
    assert.equal((await copy(archive, place('rotten.vma'))).code, 0)
    assert.ok(same(archive, place('rotten.vma')))
  })

  test('encrypted on its way, and decrypted', async () => {
    const sealed = place('sealed.vma.age')
    assert.equal((await copy(archive, sealed, '--recipient', recipient)).code, 0)
    assert.match((await copy(sealed, place('blind.vma.age'))).stderr, /what is in it is not checked/)
    assert.ok(same(sealed, place('blind.vma.age')))
    const far = `ssh://${SSH_HOST}${ssh}/sealed.vma.age`
    assert.match((await copy(sealed, far)).stderr, /what is in it is not checked/)
    const back = await copy(far, place('back.vma.age'))
    assert.equal(back.code, 0, back.stderr)
    assert.ok(same(sealed, place('back.vma.age')))
    assert.match((await vmapipe(['list', far])).stdout.toString(), /^ENCRYPTED: size: \d+ for 1 recipient/)
    assert.equal((await copy(sealed, place('open.vma'), '--identity', place('key.txt'))).code, 0)
    assert.ok(same(archive, place('open.vma')))
    assert.equal((await copy(sealed, place('none.vma'))).code, 2)
  })

  test('a chain goes into a folder, the oldest first; the second time nothing is copied', async () => {
    const disk = readFileSync(place('disk.raw'))
    const state = { a: disk.subarray(0, 4 << 20) }
    mkdirSync(place('chain'))
    const paths = await makeChain(place('chain'), [state, written(state, 'a', 3, 5), written(state, 'a', 5, 6)])
    const night = paths.at(-1)!
    mkdirSync(place('far'))
    const done = await copy(night, `${place('far')}/`)
    assert.equal(done.code, 0, done.stderr)
    for (const path of paths) assert.ok(same(path, join(place('far'), basename(path))))
    assert.equal((await vmapipe(['restore', join(place('far'), basename(night)), place('restored')])).code, 0)
    assert.match((await copy(night, `${place('far')}/`)).stderr, /3 archives, of which 0 were copied/)
  })
})
