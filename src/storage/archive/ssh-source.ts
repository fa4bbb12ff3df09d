/** Reads an archive on another machine, over ssh. */

import { VmapipeError } from '../../core/errors.ts'
import { CommandSource, type Started } from './command-source.ts'
import type { SourceOptions } from './endpoint.ts'
import { readCommand } from './remote-script.ts'
import { remoteName, type SshPlace } from './spec.ts'
import { startSession, whyNotBegun } from './ssh.ts'

export function sshSource(place: SshPlace, options: SourceOptions): CommandSource {
  return new CommandSource(() => start(place, options), remoteName(place), options)
}

function start(place: SshPlace, { warn = () => {}, signal }: SourceOptions): Started {
  const { command, answer } = startSession(place, readCommand, [place.path], warn)
  return {
    command,
    async ready() {
      const said = await answer()
      if (signal?.aborted) throw new VmapipeError('ABORTED', 'aborted')
      if (said === null) throw await whyNotBegun(command, place)
      if (said === 'folder') {
        throw new VmapipeError('USAGE', `${remoteName(place)} is a folder`, { hint: 'name the archive in it' })
      }
      const size = /^ready ([0-9]{1,15})$/.exec(said)
      return size === null ? undefined : Number(size[1])
    },
  }
}
