/** Everything that is done with an archive that somebody gave us, and what must hold however it ends. */

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { VmapipeError } from '../../src/core/errors.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { cut } from '../support/content.ts'
import { attempt } from './fuzz.ts'

export interface Source {
  bytes: Buffer
  /** The archive comes through a pipe in pieces of so many bytes; else it is a file. */
  piece?: number
  /** Whether it may be for other keys than those that are there. */
  isSealed?: boolean
}

/** What a person may have done to the folder beforehand: names and what they lead to. */
export interface Target {
  links?: Record<string, string>
  force?: boolean
}

/** Enough for any archive; a block of `lz4 -l` alone is of 8 MiB. */
const BUDGET = 40 << 20

const DEVICES = ['/dev/null', '/dev/full']

/** A folder to restore into, and things around it that must stay as they are. */
export class Ground {
  readonly root: string
  readonly into: string
  readonly #archive: string

  constructor(dir: string) {
    this.root = join(dir, 'ground')
    this.into = join(this.root, 'in/out')
    this.#archive = join(this.root, 'archive')
  }

  /** Lists, verifies and restores. Whatever verify accepts, restore accepts. */
  async read(source: Source, target: Target = {}): Promise<void> {
    this.#prepare(source, target)
    const before = this.#outside()
    const from = () => this.#from(source)
    const options = { buffer: BUDGET, threads: 2 }
    const codes = ['DAMAGED', 'INCOMPLETE', ...(source.isSealed ? (['USAGE'] as const) : [])] as const
    await attempt(() => readManifest({ from: from(), ...options }), ...codes)
    const verified = await attempt(() => verify({ from: from(), ...options }), ...codes)
    const { force } = target
    const restored = await attempt(
      () => restore({ from: from(), into: this.into, ...(force && { force }), ...options }),
      ...(['DAMAGED', 'INCOMPLETE', 'FAILED', 'USAGE'] as const),
    )
    assert.deepEqual(this.#outside(), before, 'something outside of the target folder has changed')
    for (const result of [verified, restored]) {
      if (result instanceof VmapipeError) continue
      assert.equal(result.leaked, 0)
      assert.ok(result.highWater <= BUDGET, `${result.highWater} bytes at once`)
    }
    if (restored instanceof VmapipeError) this.#nothingIsLeft(target, restored)
    else assert.ok(!(verified instanceof VmapipeError), `restored, not verified: ${(verified as VmapipeError).line}`)
    if (!(verified instanceof VmapipeError)) this.#isReason(restored)
  }

  #prepare({ bytes }: Source, { links = {} }: Target): void {
    rmSync(this.root, { recursive: true, force: true })
    mkdirSync(this.into, { recursive: true })
    mkdirSync(join(this.root, 'folder'))
    writeFileSync(join(this.root, 'victim'), 'precious')
    writeFileSync(join(this.root, 'in/victim'), 'precious')
    writeFileSync(this.#archive, bytes)
    for (const [name, to] of Object.entries(links)) symlinkSync(to, join(this.into, name))
  }

  #from({ bytes, piece }: Source): string | Readable {
    return piece === undefined ? this.#archive : Readable.from(cut(bytes, piece))
  }

  /** Every path outside of the folder, with what is there; devices too, which a link may lead to. */
  #outside(): Record<string, string> {
    const found: Record<string, string> = {}
    // Node's own recursive look follows links.
    const look = (folder: string) => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name)
        found[path] = entry.isFile() ? readFileSync(path, 'latin1') : 'not a file'
        if (entry.isDirectory() && path !== this.into) look(path)
      }
    }
    look(this.root)
    for (const device of DEVICES) found[device] = `${statSync(device).mode}`
    return found
  }

  /** What was there before is there, and nothing else; past damage, no drive under its name that is not whole. */
  #nothingIsLeft({ links = {} }: Target, error: VmapipeError): void {
    const left = readdirSync(this.into).sort()
    if (!(error instanceof DamagedArchive)) {
      assert.deepEqual(left, Object.keys(links).sort(), error.line)
      return
    }
    for (const { name, damaged, missing } of error.report.drives)
      if (damaged.bytes + missing.bytes > 0)
        assert.ok(!left.includes(`disk-${name}.raw`) || `disk-${name}.raw` in links)
  }

  /** Of a restore that fails where the archive is whole: the folder, or a name or size that the filesystem refuses. */
  #isReason(restored: unknown): void {
    if (!(restored instanceof VmapipeError)) return
    assert.ok(['FAILED', 'USAGE'].includes(restored.code), `verified, not restored: ${restored.line}`)
  }
}
