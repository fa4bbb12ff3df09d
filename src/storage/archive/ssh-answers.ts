/** Runs a script on another host that looks at archives there or changes them, and gives what it says (remote-place-script.ts). */

import { VmapipeError } from '../../core/errors.ts'
import { remoteName, type SshPlace } from './spec.ts'
import { startSession, whyNotBegun } from './ssh.ts'

/** What a script says until it is done. Throws FAILED if it cannot do it. */
export async function* answers(
  place: SshPlace,
  script: string,
  words: readonly Uint8Array[],
  signal?: AbortSignal,
): AsyncGenerator<string> {
  const { command, answer } = startSession(place, script, [place.path, ...words], () => {})
  const onAbort = () => void command.kill()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    for (;;) {
      const said = await answer()
      signal?.throwIfAborted()
      if (said === 'done') return
      if (said === null) throw await whyNotBegun(command, place)
      const problem = PROBLEMS[said]
      if (problem !== undefined) throw new VmapipeError('FAILED', `${remoteName(place)}: ${problem}`)
      yield said
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
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
  nolist: 'the list of its volumes cannot be read',
  publish: 'it could not be renamed',
}
