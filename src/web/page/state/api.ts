/** Speaks with the server: JSON over HTTP, with a cookie that scripts cannot read and a token against forged requests. */

import type { ApiError } from '../../api.ts'
import { heardTime } from './clock.ts'

/** The token of the session. It is sent with everything that changes something. */
let csrf: string | null = null

export function useToken(token: string | null): void {
  csrf = token
}

/** What the server answered instead: its line for people. */
export class CallError extends Error {
  readonly status: number
  readonly hint: string | null

  constructor(status: number, message: string, hint: string | null = null) {
    super(message)
    this.status = status
    this.hint = hint
  }
}

/** An answer that was longer on its way does not tell what time it is: milliseconds. */
const QUICK_MS = 2000

/** Called if the session has ended. */
let onSignedOut = () => {}

export function whenSignedOut(action: () => void): void {
  onSignedOut = action
}

export function get<T>(path: string, query: Record<string, string | undefined> = {}): Promise<T> {
  return call<T>('GET', address(path, query))
}

export function post<T>(path: string, body: unknown = {}): Promise<T> {
  return call<T>('POST', address(path), body)
}

/** The address of something below /api, for links and pictures too. */
export function address(path: string, query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const text = new URLSearchParams(given).toString()
  return `/api/${path}${text && `?${text}`}`
}

async function call<T>(method: string, url: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (method !== 'GET' && csrf !== null) headers['x-vmapipe-csrf'] = csrf
  if (body !== undefined) headers['content-type'] = 'application/json'
  const asked = performance.now()
  let answer: Response
  try {
    answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  } catch {
    throw new CallError(0, 'The server does not answer', 'Is vmapipe still running, and the network there?')
  }
  const date = answer.headers.get('date')
  if (date !== null && performance.now() - asked < QUICK_MS) heardTime(date)
  const text = await answer.text()
  if (!answer.ok) throw refused(answer, url, text)
  return (text === '' ? null : JSON.parse(text)) as T
}

function refused(answer: Response, url: string, text: string): CallError {
  if (answer.status === 401 && url !== '/api/sign-in' && url !== '/api/link') onSignedOut()
  try {
    const { message, hint } = (JSON.parse(text) as ApiError).error
    return new CallError(answer.status, message, hint ?? null)
  } catch {
    return new CallError(answer.status, `The server answered with error ${answer.status}`)
  }
}
