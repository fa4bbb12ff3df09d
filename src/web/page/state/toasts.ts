/** Short messages at the edge of the page: what was begun, what failed. */

import { signal } from '@preact/signals'
import type { Action } from '../../house.ts'
import { CallError, post } from './api.ts'
import { changed } from './resource.ts'

export interface Toast {
  id: number
  kind: 'done' | 'error'
  text: string
  hint: string | null
}

export const toasts = signal<Toast[]>([])
let next = 1

export function toast(kind: Toast['kind'], text: string, hint: string | null = null): void {
  const id = next++
  toasts.value = [...toasts.value.slice(-3), { id, kind, text, hint }]
  // An error stays until it is closed.
  if (kind === 'done') setTimeout(() => dismiss(id), 6000)
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((each) => each.id !== id)
}

export function toastError(error: unknown): void {
  if (error instanceof CallError) toast('error', error.message, error.hint)
  else toast('error', String(error))
}

/** What was asked for and is not answered yet: a second click does nothing. */
const running = new Set<string>()

/** Does it, says so, and shows what has changed. Returns whether it was done. */
export async function act(action: Action, said: string): Promise<boolean> {
  const key = JSON.stringify(action)
  if (running.has(key)) return false
  running.add(key)
  try {
    await post('act', action)
    toast('done', said)
    changed()
    return true
  } catch (error) {
    toastError(error)
    return false
  } finally {
    running.delete(key)
  }
}
