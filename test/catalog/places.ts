/** Places with small real archives. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type BackupOptions, backup } from '../../src/operations/backup.ts'
import { tmpDir } from '../support/tmp.ts'

type Changed = { [Name in keyof BackupOptions]?: BackupOptions[Name] | undefined }
type Test = { after(hook: () => void): void }

/** A guest with a disk of its own, and a folder for its archives in a place. */
export class SmallGuest {
  readonly name: string
  readonly disk: string
  #clusters: number

  constructor(folder: string, name: string, clusters = 8) {
    this.name = name
    this.disk = join(folder, `${name}.raw`)
    this.#clusters = clusters
    const image = Buffer.alloc(clusters * CLUSTER_SIZE)
    for (let word = 0; word < image.length; word += 4)
      image.writeUInt32LE(Math.imul(word + name.length, 2654435761) >>> 0, word)
    writeFileSync(this.disk, image)
  }

  /** Changes a cluster. */
  write(cluster: number): void {
    const image = readFileSync(this.disk)
    image[(cluster % this.#clusters) * CLUSTER_SIZE] ^= 0xff
    writeFileSync(this.disk, image)
  }

  backup(to: string, options: Changed = {}): Promise<unknown> {
    const all = { drives: { 'drive-scsi0': this.disk }, since: 'auto', guest: this.name, to, ...options }
    // An option that is undefined counts as not given.
    return backup(all as BackupOptions)
  }
}

/** A folder for archives, one for disks, and an index that no other test sees. */
export function makePlace(t: Test): { place: string; disks: string } {
  const dir = tmpDir(t)
  for (const name of ['place', 'disks', 'cache']) mkdirSync(join(dir, name))
  const before = process.env.XDG_CACHE_HOME
  process.env.XDG_CACHE_HOME = join(dir, 'cache')
  t.after(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = before
  })
  return { place: join(dir, 'place'), disks: join(dir, 'disks') }
}

/** Waits until the condition holds. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, seconds = 200): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await condition()); await sleep(50)) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}`)
  }
}
