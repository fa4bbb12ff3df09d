/** A host with some guests whose nights go by in a moment: guests that write, their archives, and what a model knows of them. */

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCatalog } from '../../src/catalog/catalog.ts'
import type { Keep } from '../../src/catalog/retention.ts'
import { Budget } from '../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { backup } from '../../src/operations/backup.ts'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { type Serving, serve } from '../live/serving.ts'
import { modelOfKeep } from './model.ts'

export type Hooks = { after(hook: () => unknown): void }

export const DAY = 86_400
const CLUSTERS = 8
/** Memory of a run: a small one is faster for small disks. */
const SMALL = 8_388_608

/** An archive that must be there, with what the guest had. */
export interface Known {
  name: string
  ctime: number
  uuid: string
  parent: string | null
  disks: Record<string, Buffer>
  isProtected: boolean
}

export class WorldGuest {
  readonly name: string
  readonly folder: string
  /** Images by the names of the drives. */
  readonly drives: Record<string, string> = {}
  known: Known[] = []
  /** The file that says how far the clock of its disk server is ahead, in milliseconds. */
  readonly #clock: string
  /** The disk server, if its disks are served. */
  serving: Serving | null = null
  readonly #home: string

  constructor(home: string, place: string, name: string, disks: number) {
    this.name = name
    this.folder = join(place, name)
    this.#home = join(home, name)
    this.#clock = join(this.#home, 'clock')
    mkdirSync(this.folder)
    mkdirSync(this.#home)
    writeFileSync(this.#clock, '0')
    for (let disk = 0; disk < disks; disk++) {
      this.drives[`drive-scsi${disk}`] = join(this.#home, `disk${disk}.raw`)
      const image = Buffer.alloc(CLUSTERS * CLUSTER_SIZE)
      for (let at = 0; at < image.length / 2; at += 4) image.writeUInt32LE(Math.imul(at + disk, 2654435761) >>> 0, at)
      writeFileSync(this.drives[`drive-scsi${disk}`], image)
    }
  }

  /** Starts its disk server, or starts it again after a reboot. */
  async boot(t: Hooks): Promise<void> {
    this.serving = await serve(t, this.drives, ['--track'], this.#home, shiftedClock(this.#clock))
  }

  /** The machine goes down without a word. */
  async crash(t: Hooks): Promise<void> {
    if (this.serving === null) return
    const gone = new Promise((resolve) => this.serving!.child.once('exit', resolve))
    this.serving.child.kill('SIGKILL')
    await gone
    await this.boot(t)
  }

  /** Writes, or discards, some clusters. */
  async write(random: () => number): Promise<void> {
    for (const [drive, path] of Object.entries(this.drives)) {
      const count = Math.floor(random() * 4)
      for (let write = 0; write < count; write++) {
        const cluster = Math.floor(random() * CLUSTERS)
        const data = random() < 0.2 ? Buffer.alloc(CLUSTER_SIZE) : noise(random)
        if (this.serving !== null) await this.#writeServed(drive, data, cluster * CLUSTER_SIZE)
        else {
          const image = readFileSync(path)
          data.copy(image, cluster * CLUSTER_SIZE)
          writeFileSync(path, image)
        }
      }
    }
  }

  async #writeServed(exportName: string, data: Buffer, offset: number): Promise<void> {
    const client = await NbdClient.connect({ socketPath: this.serving!.socket, exportName })
    await client.write([data], offset)
    await client.flush()
    await client.close()
  }

  /** What is on its disks now. */
  disks(): Record<string, Buffer> {
    return Object.fromEntries(Object.entries(this.drives).map(([name, path]) => [name, readFileSync(path)]))
  }

  /** Backs it up, full or since the newest archive. The clock says `ctime`. */
  async backup(night: number, ctime: number, isFull: boolean): Promise<void> {
    const common = {
      guest: this.name,
      to: this.target(night, isFull),
      buffer: SMALL,
      threads: 1,
      ...(!isFull && { since: 'auto' }),
    }
    this.setClock(ctime)
    if (this.serving !== null) {
      const { buffer: _, ...rest } = common
      await backupGuest({ attach: this.serving.control, ...rest })
    } else await backup({ drives: this.drives, ctime, ...common })
  }

  /** What the clock of its disk server says now, in seconds. */
  setClock(seconds: number): void {
    writeFileSync(this.#clock, String(seconds * 1000 - Date.now()))
  }

  /** The environment of a process with the same clock. */
  get clock(): Record<string, string> {
    return shiftedClock(this.#clock)
  }

  target(night: number, isFull: boolean): string {
    return join(this.folder, `${this.name}-${String(night).padStart(2, '0')}.vm${isFull ? 'a' : 'i'}.zst`)
  }

  /** Learns which archive has come, if one has. It has the disks as they were. */
  async learn(disks: Record<string, Buffer>): Promise<boolean> {
    const before = new Set(this.known.map(({ name }) => name))
    const found = (await readCatalog(this.folder)).filter(({ name }) => !before.has(name))
    assert.ok(found.length <= 1, `${found.length} archives have come`)
    for (const { name, ctime, uuid, parent, guest } of found) {
      assert.equal(guest, this.name)
      this.known.push({ name, ctime, uuid, parent, disks, isProtected: false })
    }
    return found.length > 0
  }

  /** What rules keep of these archives, by the model. */
  kept(keep: Keep): Set<string> {
    const newestFirst = this.known.toSorted((a, b) => b.ctime - a.ctime)
    const counted = newestFirst.filter(({ isProtected }) => !isProtected)
    const times = modelOfKeep(
      counted.map(({ ctime }) => ctime),
      keep,
    )
    const left = newestFirst.filter((one, index) => index === 0 || one.isProtected || times.has(one.ctime))
    const stays = new Set(left)
    for (const child of stays) for (const one of this.known) if (one.uuid === child.parent) stays.add(one)
    return new Set([...stays].map(({ name }) => name))
  }

  /** The names of its archives that are there. */
  names(): string[] {
    return readdirSync(this.folder)
      .filter((name) => /\.vm[ai]\.zst$/.test(name) && !name.startsWith('.'))
      .sort()
  }

  /** Files that belong to no archive of these names. */
  rubbish(): string[] {
    const names = this.names()
    return readdirSync(this.folder).filter(
      (file) => !names.some((name) => file === name || file.startsWith(`${name}.`)),
    )
  }

  /** Each of these archives, with its parents, gives what the guest had. */
  async assertRestorable(names: readonly string[] = this.names()): Promise<void> {
    for (const { name, disks } of this.known.filter((one) => names.includes(one.name))) {
      const archive = await openArchive(join(this.folder, name), { budget: new Budget(SMALL), threads: 1 })
      try {
        for (const [drive, image] of Object.entries(disks)) {
          const found = Buffer.alloc(image.length)
          await archive.drive(drive).read(found, 0)
          assert.ok(found.equals(image), `${name} gives what ${drive} had`)
        }
      } finally {
        await archive.close()
      }
    }
  }

  protect(name: string): void {
    writeFileSync(join(this.folder, `${name}.protected`), '')
    writeFileSync(join(this.folder, `${name}.notes`), 'of value')
    for (const one of this.known) if (one.name === name) one.isProtected = true
  }

  unprotect(name: string): void {
    // The note stays, and goes with the archive.
    const mark = join(this.folder, `${name}.protected`)
    if (existsSync(mark)) assert.ok(this.known.some((one) => one.name === name))
    for (const one of this.known) if (one.name === name) one.isProtected = false
  }
}

function shiftedClock(file: string): Record<string, string> {
  return { SHIFTED_CLOCK: file, NODE_OPTIONS: `--import=${join(import.meta.dirname, '../support/shifted-clock.mjs')}` }
}

/** A cluster that nothing compresses. */
function noise(random: () => number): Buffer {
  const data = Buffer.alloc(CLUSTER_SIZE)
  for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(Math.floor(random() * 2 ** 32), at)
  return data
}
