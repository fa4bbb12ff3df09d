/** `vmapipe serve --track` as a process: what a backup reads after a stop, a kill, and what else may happen to an image. */

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { MiB, makeDisk } from '../images.ts'
import { startFio } from '../programs.ts'
import { type Serving, serve } from '../serving.ts'
import { type Taken, takeBackup } from './taken.ts'

const SIZE = 32 * MiB
const ALL = SIZE / 65536
const REGION = MiB / 65536
const timeout = 240_000
const PARENT = '11111111-1111-4111-8111-111111111111'

class Guest {
  readonly t: TestContext
  readonly dir: string
  readonly disk: string
  readonly flags: string[]
  serving!: Serving
  /** What the last backup has. */
  image: Buffer = Buffer.alloc(0)
  #uuids = 0

  constructor(t: TestContext, flags: string[] = []) {
    this.t = t
    this.dir = tmpDir(t)
    this.disk = join(this.dir, 'disk')
    this.flags = flags
    makeDisk(this.disk, SIZE)
  }

  async start(source = this.disk): Promise<void> {
    this.serving = await serve(this.t, { a: source }, ['--track', ...this.flags], this.dir)
  }

  async write(offset: number, text: string): Promise<void> {
    const client = await NbdClient.connect({ socketPath: this.serving.socket, exportName: 'a' })
    await client.write([Buffer.from(text)], offset)
    await client.close()
  }

  /** The backup that others are compared with. */
  async first(): Promise<void> {
    const { images } = await takeBackup(this.serving, { uuid: PARENT }, { a: Buffer.alloc(SIZE, 0xee) })
    this.image = images.a
    assert.ok(this.image.equals(readFileSync(this.disk)))
  }

  /** A backup with the parent has what is on the disk. */
  async next(since = PARENT): Promise<Taken> {
    const uuid = `22222222-2222-4222-8222-${String(++this.#uuids).padStart(12, '0')}`
    const taken = await takeBackup(this.serving, { uuid, since }, { a: this.image })
    assert.ok(taken.images.a.equals(readFileSync(this.disk)), 'the archive is the disk')
    return taken
  }

  /** The next backup reads everything, for this reason. */
  async readsAll(reason: RegExp): Promise<void> {
    const { used, clusters } = await this.next()
    assert.match((used.a as { all: string }).all, reason)
    assert.equal(clusters.a, ALL)
  }
}

async function tracked(t: TestContext, flags: string[] = []): Promise<Guest> {
  const guest = new Guest(t, flags)
  await guest.start()
  await guest.first()
  await guest.write(5 * MiB + 100, 'new')
  return guest
}

// Each has a service of its own, and waits for it most of the time.
const concurrency = 2

describe('a tracked drive', { concurrency }, () => {
  test('is read only where the guest has written', { timeout }, async (t) => {
    const guest = await tracked(t)
    assert.deepEqual((await guest.next()).used, { a: { changed: REGION } })
    await guest.write(9 * MiB - 1, 'xy')
    const { clusters, used } = await guest.next()
    assert.deepEqual(used, { a: { changed: 3 * REGION } })
    assert.deepEqual(clusters, { a: 3 * REGION })
    assert.match(JSON.stringify((await guest.serving.status()).drives[0].tracked), /11111111/)
    const { used: unknown } = await guest.next('33333333-3333-4333-8333-333333333333')
    assert.match(JSON.stringify(unknown), /nothing was tracked before/)
    assert.equal(await guest.serving.stop(), 0)
  })

  test('knows after a stop and a start what has changed', { timeout }, async (t) => {
    const guest = await tracked(t)
    assert.equal(await guest.serving.stop(), 0)
    await guest.start()
    await guest.write(0, 'more')
    assert.deepEqual((await guest.next()).used, { a: { changed: 2 * REGION } })
  })

  test('knows after a kill what has changed', { timeout }, async (t) => {
    const guest = await tracked(t)
    for (let round = 0; round < 3; round++) {
      await guest.write((10 + round) * MiB, 'before the kill')
      await guest.serving.kill()
      await guest.start()
      assert.deepEqual((await guest.next()).used, { a: { changed: (2 + round) * REGION } })
    }
  })

  test('counts zeroes and trims as changes', { timeout }, async (t) => {
    const guest = await tracked(t)
    const client = await NbdClient.connect({ socketPath: guest.serving.socket, exportName: 'a' })
    await client.writeZeroes(20 * MiB, 4096)
    await client.trim(25 * MiB, MiB)
    await client.close()
    assert.deepEqual((await guest.next()).used, { a: { changed: 3 * REGION } })
  })

  test('goes on after a backup that failed as if it had not been', { timeout }, async (t) => {
    const guest = await tracked(t)
    const given = new AbortController()
    const cut = takeBackup(guest.serving, { bwlimit: MiB }, { a: guest.image }, given.signal)
    while (((await guest.serving.status()).backup?.since ?? 0) === 0) await sleep(5)
    await guest.write(7 * MiB, 'during the backup')
    given.abort()
    await assert.rejects(cut)
    await guest.serving.ended()
    assert.deepEqual((await guest.next()).used, { a: { changed: 2 * REGION } })
  })

  test('is in an incremental archive as it was when fio began, which finds all that it wrote', {
    ...needs('fio'),
    timeout,
  }, async (t) => {
    const guest = await tracked(t)
    const before = readFileSync(guest.disk)
    const wish = { uuid: '44444444-4444-4444-8444-444444444444', since: PARENT, bwlimit: MiB / 2 }
    const backup = takeBackup(guest.serving, wish, { a: guest.image })
    while (((await guest.serving.status()).backup?.since ?? 0) === 0) await sleep(5)
    const size = [
      '--size=32M',
      '--bsrange=512-96k',
      '--blockalign=512',
      '--iodepth=16',
      '--rw=randwrite',
      '--fsync=100',
    ]
    const args = [...size, '--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--randseed=1']
    await startFio(t, guest.serving.uri('a'), { args }).done
    const { images, used, clusters } = await backup
    assert.deepEqual([used, clusters], [{ a: { changed: REGION } }, { a: REGION }])
    assert.ok(images.a.equals(before))
    await guest.serving.kill()
    await guest.start()
    guest.image = images.a
    await guest.next('44444444-4444-4444-8444-444444444444')
  })

  test('does not lose older archives, however many backups there are', { timeout }, async (t) => {
    const guest = await tracked(t)
    for (let count = 0; count < 20; count++) await guest.next()
    assert.deepEqual((await guest.next()).used, { a: { changed: REGION } })
    await guest.serving.kill()
    await guest.start()
    assert.deepEqual((await guest.next()).used, { a: { changed: REGION } })
  })
})

describe('what makes the record of changes worthless', { concurrency }, () => {
  const cases: [name: string, reason: RegExp, spoil: (guest: Guest) => void | Promise<void>][] = [
    [
      'the image was written to meanwhile',
      /was changed while no service had it/,
      ({ disk }) => overwrite(disk, 3 * MiB),
    ],
    [
      'the image was replaced',
      /was replaced by another file/,
      ({ disk }) => {
        copyFileSync(disk, `${disk}.copy`)
        renameSync(`${disk}.copy`, disk)
      },
    ],
    [
      'the image was resized and back',
      /was changed/,
      ({ disk }) => {
        for (const size of [SIZE + 512, SIZE]) truncateSync(disk, size)
      },
    ],
    ['its file is damaged', /cannot be used/, (guest) => flip(record(guest), 20480 + 300)],
    ['its head is damaged', /cannot be used/, (guest) => flip(record(guest), 40)],
    ['its file is empty', /nothing was tracked before/, (guest) => truncateSync(record(guest), 0)],
  ]
  for (const [name, reason, spoil] of cases) {
    test(name, { timeout }, async (t) => {
      const guest = await tracked(t)
      assert.equal(await guest.serving.stop(), 0)
      await spoil(guest)
      await guest.start()
      await guest.readsAll(reason)
      // From this backup on, it is known again.
      guest.image = readFileSync(guest.disk)
      await guest.write(0, 'again')
      assert.deepEqual((await guest.next('22222222-2222-4222-8222-000000000001')).used, { a: { changed: REGION } })
    })
  }

  test('the image was written to after a kill', { timeout }, async (t) => {
    const guest = await tracked(t)
    await guest.serving.kill()
    await sleep(400)
    await overwrite(guest.disk, 3 * MiB)
    await guest.start()
    await guest.readsAll(/ended without closing the image/)
  })

  test('an image that is older than when the service had it', { timeout }, async (t) => {
    const guest = await tracked(t)
    await guest.serving.kill()
    const bytes = readFileSync(record(guest))
    await guest.start()
    await guest.write(0, 'later')
    await guest.serving.stop()
    // The folder of the record was restored, and the image was not.
    writeFileSync(record(guest), bytes)
    await guest.start()
    await guest.readsAll(/ended without closing the image/)
  })

  test('an NBD server, which others can write to, unless told otherwise', { timeout }, async (t) => {
    const upstream = new Guest(t)
    await upstream.start()
    for (const [flags, used] of [
      [[], /others can write to/],
      [['--sole-writer'], /"changed":16/],
    ] as const) {
      const guest = new Guest(t, [...flags])
      await guest.start(upstream.serving.uri('a'))
      const { images } = await takeBackup(guest.serving, { uuid: PARENT }, { a: Buffer.alloc(SIZE) })
      await guest.write(MiB, 'changed')
      await guest.serving.kill()
      await guest.start(upstream.serving.uri('a'))
      const taken = await takeBackup(guest.serving, { since: PARENT }, images)
      assert.match(JSON.stringify(taken.used), used)
      assert.ok(taken.images.a.equals(readFileSync(upstream.disk)))
      await guest.serving.stop()
    }
  })
})

test('an archive by curl is never incremental', { timeout }, async (t) => {
  const guest = await tracked(t)
  const { code, body } = await guest.serving.json('GET', `/backup?since=${PARENT}`)
  assert.equal(code, 400)
  assert.match(body.error, /--since/)
  assert.ok(existsSync(record(guest)))
})

function record({ serving }: Guest): string {
  return join(`${serving.control}.track`, 'a.changes')
}

async function overwrite(path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(Buffer.from('by another program'), 0, 18, offset)
  await file.close()
}

async function flip(path: string, offset: number): Promise<void> {
  const bytes = readFileSync(path)
  bytes[offset] ^= 4
  writeFileSync(path, bytes)
}
