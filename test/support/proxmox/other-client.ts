/** Another client of a monitor, as Proxmox's own tools are: it comes every 2 seconds, asks, and goes. It takes one turn at a time. */

import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const PAUSE_MS = 2000

export interface OtherClient {
  /** Milliseconds until each answer, from the attempt to connect on. */
  waits: number[]
  /** What went wrong. */
  errors: string[]
  stop(): Promise<void>
}

/** Sends the commands by a connection of its own, and resolves with what they return. */
export async function askOnce(path: string, ...commands: object[]): Promise<any[]> {
  const socket = connect(path)
  const failed = once(socket, 'error').then(([error]) => Promise.reject(error))
  failed.catch(() => {})
  try {
    const lines = createInterface(socket)[Symbol.asyncIterator]()
    const answer = async (): Promise<any> => {
      for (;;) {
        const { done, value } = await lines.next()
        if (done) throw new Error('the monitor hung up')
        const message = JSON.parse(value)
        if (message.event !== undefined) continue
        if (message.error !== undefined) throw new Error(message.error.desc)
        return message
      }
    }
    const work = async () => {
      await answer()
      const results: any[] = []
      for (const [id, command] of [{ execute: 'qmp_capabilities' }, ...commands].entries()) {
        socket.write(`${JSON.stringify({ ...command, id: `other:${id}` })}\n`)
        const message = await answer()
        if (message.id !== `other:${id}`) throw new Error(`an answer to somebody else: ${JSON.stringify(message)}`)
        results.push(message.return)
      }
      return results.slice(1)
    }
    return await Promise.race([work(), failed])
  } finally {
    socket.destroy()
  }
}

export function useEvery2s(t: { after(hook: () => void): void }, path: string): OtherClient {
  const end = new AbortController()
  const waits: number[] = []
  const errors: string[] = []
  const run = async () => {
    while (!end.signal.aborted) {
      const begun = performance.now()
      try {
        await askOnce(path, { execute: 'query-status' })
        waits.push(performance.now() - begun)
      } catch (error) {
        if (!end.signal.aborted) errors.push(String(error))
      }
      await sleep(PAUSE_MS, undefined, { signal: end.signal }).catch(() => {})
    }
  }
  const running = run()
  t.after(() => end.abort())
  return {
    waits,
    errors,
    stop: async () => {
      end.abort()
      await running
    },
  }
}
