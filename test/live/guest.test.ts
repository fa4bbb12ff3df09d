import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { assertCleanFilesystem, assertRestoredDisk, readDisk } from '../support/guest/filesystem.ts'
import { startGuest } from '../support/guest/guest.ts'
import { type GuestDisk, needsGuest } from '../support/guest/machine.ts'
import { checkRecords } from '../support/guest/records.ts'
import { tmpDir } from '../support/tmp.ts'
import { serve as serveDisks } from './serving.ts'

const timeout = 400_000

/** Serves image files as the disks of a guest. */
interface DiskServer {
  disks: GuestDisk[]
  /** In good order; the images are at rest afterwards. */
  stop(): Promise<void>
}

type ServeDisks = (t: TestContext, images: readonly string[]) => Promise<DiskServer>

const servers: Record<string, ServeDisks> = {
  'qemu-nbd': async (t, images) => {
    const started = await Promise.all(images.map((image) => startQemuNbd(t, image)))
    return {
      disks: started.map(({ socket }) => ({ socket, name: '' })),
      stop: async () => void (await Promise.all(started.map(({ child }) => end(child)))),
    }
  },
  'vmapipe serve': async (t, images) => {
    const names = images.map((_, index) => `drive-scsi${index}`)
    const serving = await serveDisks(t, Object.fromEntries(names.map((name, index) => [name, images[index]])))
    return {
      disks: names.map((name) => ({ socket: serving.socket, name })),
      stop: async () => assert.equal(await serving.stop(), 0),
    }
  },
}

async function startQemuNbd(t: TestContext, image: string): Promise<{ child: ChildProcess; socket: string }> {
  const socket = join(tmpDir(t), 'socket')
  const args = ['--persistent', '--format=raw', '--discard=unmap', `--socket=${socket}`, image]
  const child = spawn('qemu-nbd', args, { stdio: ['ignore', 'ignore', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  while (!existsSync(socket)) {
    assert.equal(child.exitCode, null, 'qemu-nbd started')
    await sleep(5)
  }
  return { child, socket }
}

async function end(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  await exit
}

for (const [name, serve] of Object.entries(servers)) {
  describe(`a guest whose disks ${name} serves`, { concurrency: 2, ...needsGuest() }, () => {
    test('finds on both disks what it wrote, after a trim and a clean end', { timeout }, async (t) => {
      const dir = tmpDir(t)
      const images = ['a', 'b'].map((image) => join(dir, image))
      for (const image of images) makeGuestDisk(image, 'clean')
      const server = await serve(t, images)
      const [first, second] = server.disks
      // Where the guest sees a write cache there are flushes; where it sees none every write is durable by itself (FUA).
      const guest = await startGuest(t, { role: 'writer', trim: 60, disks: [first, { ...second, writeThrough: true }] })
      await guest.waitFor('TRIMMED 60')
      await guest.waitFor('ACK 80')
      await guest.stop()
      await server.stop()
      const last = Number((await guest.waitFor('DONE (\\d+)'))[1])
      assert.deepEqual(guest.console.diskErrors, [])
      for (const image of images) {
        assertCleanFilesystem(image)
        assert.equal(checkRecords(readDisk(t, image), { acked: last, begun: last, trim: 60 }), last)
      }
    })

    test('has every acknowledged record after a power failure, and boots again', { timeout }, async (t) => {
      const image = join(tmpDir(t), 'disk')
      makeGuestDisk(image, 'after-the-failure')
      const server = await serve(t, [image])
      const guest = await startGuest(t, { role: 'writer', disks: server.disks })
      await guest.waitFor('ACK 100')
      const { acked } = guest
      await guest.kill()
      const begun = guest.acked + 1
      await server.stop()
      const last = assertRestoredDisk(t, image, { acked, begun })

      const again = await serve(t, [image])
      const next = await startGuest(t, { role: 'boot', disks: again.disks })
      const [, marker, count] = await next.waitFor('BOOTED (\\S+) records (\\d+) last \\d+')
      assert.equal(marker, 'after-the-failure')
      assert.equal(Number(count), last)
      await next.poweredOff()
    })
  })
}
