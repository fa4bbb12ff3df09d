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
import { startSession, whyNotBegun } from './ssh.ts'
import { SshBytes } from './ssh-bytes.ts'
import { sshSource } from './ssh-source.ts'
import { SshTarget } from './ssh-target.ts'

/** The most entries that a folder may have. */
const MOST_ENTRIES = 1_000_000

export function sshPlace(place: SshPlace): Place {
  return {
    can: { noReplace: true, durable: true, serverCopy: false },
    target: (options) => new SshTarget(place, options),
    source: (options) => sshSource(place, options),
    ranges: (options) => SshBytes.open(place, options),
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
  for await (const said of answers(place, script, [])) {
    const [, mode, size, time, path] = /^entry ([0-9a-f]{1,8}) ([0-9]{1,15}) ([0-9]{1,12}) (.*)$/.exec(said) ?? []
    signal?.throwIfAborted()
    if (mode === undefined || (Number.parseInt(mode, 16) & 0xf000) !== 0x8000) continue
    if (++count > MOST_ENTRIES)
      throw new VmapipeError('FAILED', `the folder of ${remoteName(place)} has too many files`)
    const inner = path.startsWith(folder) ? path.slice(folder.length) : ''
    const name = inner.split('/').length === 2 ? inner : posix.basename(path)
    yield { name, size: Number(size), modified: new Date(Number(time) * 1000).toISOString() }
  }
}

/** What a script says until it is done. Throws FAILED if it cannot do it. */
async function* answers(place: SshPlace, script: string, words: readonly Uint8Array[]): AsyncGenerator<string> {
  const { command, answer } = startSession(place, script, [place.path, ...words], () => {})
  try {
    for (;;) {
      const said = await answer()
      if (said === 'done') return
      if (said === null) throw await whyNotBegun(command, place)
      const problem = PROBLEMS[said]
      if (problem !== undefined) throw new VmapipeError('FAILED', `${remoteName(place)}: ${problem}`)
      yield said
    }
  } finally {
    await command.kill()
    command.release()
  }
}

const PROBLEMS: Record<string, string> = {
  folder: 'it is a folder',
  nofolder: 'its folder does not exist',
  nostat: 'the host has no stat(1) that can tell about files',
  makefolder: 'its folder could not be made',
  remove: 'it could not be removed',
  exists: 'a file of the new name exists and was not overwritten',
  publish: 'it could not be renamed',
}
