/** A folder on another machine as a place where archives are. */

import { posix } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { Place, PlaceEntry } from './place.ts'
import {
  listCommand,
  listFoldersCommand,
  makeFolderCommand,
  removeCommand,
  renameCommand,
  statCommand,
} from './remote-place-script.ts'
import { remoteName, type SshPlace } from './spec.ts'
import { answers } from './ssh-answers.ts'
import { SshTarget } from './ssh-target.ts'
import { farSource, openFarBytes } from './volumes/far-archive.ts'

/** The most entries that a folder may have. */
const MOST_ENTRIES = 1_000_000

export function sshPlace(place: SshPlace): Place {
  return {
    can: { noReplace: true, durable: true, serverCopy: false },
    target: (options) => new SshTarget(place, options),
    source: (options) => farSource(place, options),
    ranges: (options) => openFarBytes(place, options),
    stat: async () => {
      for await (const entry of entries(place, statCommand)) return entry
      return null
    },
    list: (options) => entries(place, options?.folders ? listFoldersCommand : listCommand, options?.signal),
    makeFolder: async () => {
      for await (const _ of answers(place, makeFolderCommand, []));
    },
    remove: async () => {
      for await (const _ of answers(place, removeCommand, []));
    },
    rename: async (name) => {
      const folder = place.path.subarray(0, place.path.lastIndexOf('/') + 1)
      for await (const _ of answers(place, renameCommand, [Buffer.concat([folder, Buffer.from(name)])]));
    },
  }
}

async function* entries(place: SshPlace, script: string, signal?: AbortSignal): AsyncGenerator<PlaceEntry> {
  let count = 0
  const folder = place.path.toString().slice(0, place.path.toString().lastIndexOf('/') + 1)
  for await (const said of answers(place, script, [], signal)) {
    const [, mode, size, time, path] = /^entry ([0-9a-f]{1,8}) ([0-9]{1,15}) ([0-9]{1,12}) (.*)$/.exec(said) ?? []
    if (mode === undefined || (Number.parseInt(mode, 16) & 0xf000) !== 0x8000) continue
    if (++count > MOST_ENTRIES)
      throw new VmapipeError('FAILED', `the folder of ${remoteName(place)} has too many files`)
    const inner = path.startsWith(folder) ? path.slice(folder.length) : ''
    const name = inner.split('/').length === 2 ? inner : posix.basename(path)
    yield { name, size: Number(size), modified: new Date(Number(time) * 1000).toISOString() }
  }
}
