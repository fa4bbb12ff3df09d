/** Questions to a process of the benchmark, and its answers. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'

type Answers = Record<string, (...args: any[]) => Promise<unknown>>

/** In the child: answers what the parent asks. */
export function answerParent(answers: Answers): void {
  process.on('message', async ({ id, what, args }: { id: number; what: string; args: unknown[] }) => {
    try {
      process.send!({ id, value: await answers[what](...args) })
    } catch (error) {
      process.send!({ id, error: String((error as Error).stack) })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send!({ id: 0 })
}

export interface Child {
  process: ChildProcess
  ask<T>(what: string, ...args: unknown[]): Promise<T>
}

/** Starts a file of this folder, and waits until it answers. */
export async function child(file: string, args: string[] = [], execArgv: string[] = []): Promise<Child> {
  const started = fork(new URL(file, import.meta.url), args, { execArgv: [...process.execArgv, ...execArgv] })
  const asked = new Map<number, PromiseWithResolvers<unknown>>()
  let last = 0
  const ready = Promise.withResolvers<unknown>()
  asked.set(0, ready)
  started.on('message', ({ id, value, error }: { id: number; value?: unknown; error?: string }) => {
    if (error === undefined) asked.get(id)?.resolve(value)
    else asked.get(id)?.reject(new Error(error))
    asked.delete(id)
  })
  void once(started, 'exit').then(([code]) => {
    for (const { reject } of asked.values()) reject(new Error(`${file} ended with ${code}`))
  })
  await ready.promise
  return {
    process: started,
    ask(what, ...args) {
      const answer = Promise.withResolvers<unknown>()
      asked.set(++last, answer)
      started.send({ id: last, what, args })
      return answer.promise as Promise<never>
    },
  }
}
