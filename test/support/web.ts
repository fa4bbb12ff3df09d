/** The page of a made-up house, served at a port of its own, and a browser that is as simple as can be. */

import { mkdtemp, rm } from 'node:fs/promises'
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { Accounts } from '../../src/web/accounts/accounts.ts'
import { AuditLog } from '../../src/web/accounts/audit.ts'
import { Links } from '../../src/web/accounts/links.ts'
import type { Session } from '../../src/web/api.ts'
import type { Role } from '../../src/web/house.ts'
import { type WebApp, webApp } from '../../src/web/server/app.ts'
import { type Page, placeholderPage } from '../../src/web/server/page-files.ts'
import { type ServedWeb, serveWeb } from '../../src/web/server/serve.ts'
import type { WebOptions } from '../../src/web/server/web.ts'
import { type MadeUpHouse, type MadeUpOptions, madeUpHouse } from './made-up-house.ts'

/** A scrypt that takes no time. */
export const QUICK_COST = { n: 2, r: 1, p: 1 }

export interface TestedWeb {
  house: MadeUpHouse
  folder: string
  accounts: Accounts
  links: Links
  audit: AuditLog
  web: WebApp
  served: ServedWeb
  port: number
  /** What the server warned of. */
  warnings: string[]
  /** Milliseconds that are added to the clock. */
  clock: { ahead: number }
  browser(): TestBrowser
  /** A browser that is signed in, by a one-time link. */
  signedIn(role: Role): Promise<TestBrowser>
  close(): Promise<void>
}

export type TestedWebOptions = Partial<Omit<WebOptions, 'house'>> & {
  house?: MadeUpOptions
  page?: Page
  /** That of another one before it, as after a restart; it stays. */
  folder?: string
}

export async function testedWeb({ house: made, folder: given, ...options }: TestedWebOptions = {}): Promise<TestedWeb> {
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'vmapipe-web-')))
  const clock = { ahead: 0 }
  const now = () => Date.now() + clock.ahead
  const warnings: string[] = []
  const warn = (message: string) => void warnings.push(message)
  const house = madeUpHouse({ every: 0, ...made })
  const accounts = await new Accounts({ folder, cost: QUICK_COST }).open()
  const links = new Links(folder, now)
  const audit = new AuditLog({ folder, now, warn })
  const listen = { host: '127.0.0.1', port: 0 }
  const web = webApp({
    ...{ house, accounts, links, audit, page: placeholderPage(), listen, version: '0.0.0-test', isSecure: false },
    ...{ now, warn, lookMs: 20 },
    ...options,
  })
  await web.sessions.load()
  const served = await serveWeb({ web, listen })
  const port = served.port!
  const browser = () => new TestBrowser(port, web.cookie)
  return {
    ...{ house, folder, accounts, links, audit, web, served, port, warnings, clock, browser },
    async signedIn(role) {
      const one = browser()
      const { token } = await links.make(role)
      await one.signIn('/api/link', { token })
      return one
    },
    async close() {
      await served.close()
      await house.close()
      if (given === undefined) await rm(folder, { recursive: true })
    },
  }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  text: string
  json: any
}

type Headers = Record<string, string | string[] | undefined>

/** Has a cookie and a token, and sends the headers of a browser. */
export class TestBrowser {
  readonly #port: number
  readonly #cookieName: string
  cookie: string | undefined
  csrf: string | undefined
  session: Session | undefined

  constructor(port: number, cookieName: string) {
    this.#port = port
    this.#cookieName = cookieName
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** A header of undefined is not sent. */
  open(
    method: string,
    path: string,
    { headers = {}, body }: { headers?: Headers; body?: string | Buffer } = {},
  ): Promise<IncomingMessage> {
    const all: Headers = {
      'sec-fetch-site': 'same-origin',
      ...(method === 'GET' ? {} : { origin: this.origin, 'content-type': 'application/json' }),
      ...(this.cookie !== undefined && { cookie: `${this.#cookieName}=${this.cookie}` }),
      ...(method !== 'GET' && this.csrf !== undefined && { 'x-vmapipe-csrf': this.csrf }),
      ...headers,
    }
    const sent = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<
      string,
      string
    >
    return new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: this.#port, method, path, headers: sent, agent: false }, resolve)
        .on('error', reject)
        .end(body)
    })
  }

  async ask(
    method: string,
    path: string,
    options: { headers?: Headers; body?: string | Buffer } = {},
  ): Promise<Answer> {
    const answer = await this.open(method, path, options)
    const body = await buffer(answer)
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (name === this.#cookieName) this.cookie = value === '' ? undefined : value
    }
    const text = body.toString()
    let json: any
    try {
      json = JSON.parse(text)
    } catch {}
    return { status: answer.statusCode!, headers: answer.headers, body, text, json }
  }

  get(path: string, headers: Headers = {}): Promise<Answer> {
    return this.ask('GET', path, { headers })
  }

  post(path: string, value: unknown, headers: Headers = {}): Promise<Answer> {
    return this.ask('POST', path, { headers, body: JSON.stringify(value) })
  }

  async signIn(path: '/api/sign-in' | '/api/link', value: unknown): Promise<Answer> {
    const answer = await this.post(path, value)
    if (answer.status === 200) {
      this.session = answer.json
      this.csrf = answer.json.csrf
    }
    return answer
  }
}

/** Reads server-sent events as text blocks, until `enough` says so. */
export async function readEvents(
  answer: IncomingMessage,
  enough: (events: { event: string; id: string; data: any }[]) => boolean,
): Promise<{ event: string; id: string; data: any }[]> {
  const events: { event: string; id: string; data: any }[] = []
  let text = ''
  for await (const piece of answer) {
    text += piece
    for (let at = text.indexOf('\n\n'); at >= 0; at = text.indexOf('\n\n')) {
      const lines = text.slice(0, at).split('\n')
      text = text.slice(at + 2)
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2)
      const data = field('data')
      if (data !== undefined) events.push({ event: field('event')!, id: field('id')!, data: JSON.parse(data) })
    }
    if (enough(events)) break
  }
  return events
}
