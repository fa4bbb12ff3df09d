/** Whether a guest that failed is still there: one that has moved away or was shut down is not tried again. */

import { stat } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Guest } from './guest.ts'
import { domainNames } from './libvirt.ts'

/** What is gone, in words; null if the guest is there, or nobody knows. */
export async function isGone({ source }: Guest): Promise<string | null> {
  switch (source.kind) {
    case 'libvirt': {
      const names = await domainNames(source.connect, AbortSignal.timeout(30_000)).catch(() => null)
      return names === null || names.includes(source.domain) ? null : 'libvirt does not have the guest any more'
    }
    case 'qmp':
      return (await isListening(source.socket)) ? null : `nobody listens at '${source.socket}' any more`
    case 'attach':
      return (await isListening(source.control)) ? null : `nobody listens at '${source.control}' any more`
    case 'drives': {
      for (const drive of Object.values(source.drives)) {
        if (!drive.startsWith('/')) continue
        const error = await stat(drive).then(
          () => null,
          ({ code }) => code,
        )
        if (error === 'ENOENT') return `'${drive}' is not there any more`
      }
      return null
    }
    default:
      return null
  }
}

/** A socket that is there and refuses is left by a program that has ended. */
async function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true))
    socket.once('error', ({ code }: NodeJS.ErrnoException) => end(code !== 'ENOENT' && code !== 'ECONNREFUSED'))
    socket.setTimeout(5000, () => end(true))
  })
}
