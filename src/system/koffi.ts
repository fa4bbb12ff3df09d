/** Calls functions of C libraries by koffi. It is loaded when it is first needed, as its compiled code is optional. */

import type koffi from 'koffi'
import { requireCompiled } from './native.ts'

export type Koffi = typeof koffi
export type Library = ReturnType<Koffi['load']>
export type NativeFunction = ReturnType<Library['func']>

let loaded: Koffi | undefined

/** Throws if koffi cannot be loaded. */
export function loadKoffi(): Koffi {
  loaded ??= requireCompiled('koffi') as Koffi
  return loaded
}

/** Loads the C library of Linux. Throws on other systems, and if koffi cannot be loaded. */
export function loadLibc(): Library {
  if (process.platform !== 'linux') throw new Error('Linux only')
  return loadKoffi().load(null)
}

/** The result of a system call as the kernel gives it: -errno if the call failed. To be asked for right after the call. */
export function resultOf(value: number | bigint): number {
  return value < 0 ? -loadKoffi().errno() : Number(value)
}

/** Calls at once: koffi refuses more than 256, and libuv's pool has fewer threads than this. */
const MOST_CALLS = 128
let calls = 0
const queue: (() => void)[] = []

/** Makes a system call in a thread of libuv's pool, and resolves with its result. koffi hands on the errno of that thread. */
export async function inPool(call: NativeFunction, args: unknown[]): Promise<number> {
  if (calls >= MOST_CALLS) await new Promise<void>((go) => queue.push(go))
  else calls++
  try {
    return await new Promise((resolve, reject) => {
      call.async(...args, (error: Error | null, value: number | bigint) => {
        if (error) reject(error)
        else resolve(resultOf(value))
      })
    })
  } finally {
    const next = queue.shift()
    if (next === undefined) calls--
    else next()
  }
}
