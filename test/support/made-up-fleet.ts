/** A fleet that does nothing, and notes what it was asked: for tests of what is in front of it. */

import { randomBytes } from 'node:crypto'
import type {
  AgentSide,
  Fleet,
  FleetStatus,
  FleetTopic,
  PeopleSide,
  TokenRow,
  TokenSide,
} from '../../src/fleet/fleet.ts'
import type { Work } from '../../src/fleet/messages/work.ts'

type Watcher = Parameters<PeopleSide['watch']>[0]

export interface Call {
  name: string
  args: unknown[]
}

export interface MadeUpFleet extends Fleet {
  /** What it was asked, in order. */
  readonly calls: Call[]
  /** Answers of calls by their names; an Error is thrown. */
  readonly answers: Record<string, unknown>
  /** Gives works to the host that waits for some. */
  give(host: string, works: Work[]): void
  /** Long polls that wait. */
  readonly waiting: Map<string, (works: Work[]) => void>
  /** Tells those who watch. */
  change(...topics: FleetTopic[]): void
  readonly watchers: Set<Watcher>
  /** Tokens by their texts. */
  readonly known: Map<string, TokenRow>
  /** A token, without any database. */
  token(name: string, kind: TokenRow['kind']): string
}

export const STATUS: FleetStatus = {
  hosts: { up: 1, gone: 1, drained: 0, never: 0 },
  guests: { good: 2, late: 0, overdue: 1, unprotected: 1 },
  running: [],
  waiting: [],
  problems: [],
}

export function madeUpFleet(): MadeUpFleet {
  const calls: Call[] = []
  const waiting = new Map<string, (works: Work[]) => void>()
  const watchers = new Set<Watcher>()
  const known = new Map<string, TokenRow>()
  const answers: Record<string, unknown> = {
    'agents.hello': { protocol: 1, host: 'h1', heartbeat: 5000, drained: false },
    'agents.inventory': { central: [] },
    'agents.beat': { drained: false, closer: false, stop: [], jobsChanged: false },
    'agents.centralJob': null,
    'agents.events': [],
    'people.status': STATUS,
    'people.start': ['w1'],
    'people.verify': 'w2',
    'people.prune': 'w3',
  }
  const asked = (name: string, args: unknown[]) => {
    calls.push({ name, args })
    const answer = answers[name]
    if (answer instanceof Error) throw answer
    return answer
  }
  const side = <T extends object>(name: string, own: Partial<T>): T =>
    new Proxy(own as T, {
      get: (target, key) =>
        Reflect.get(target, key) ?? (async (...args: unknown[]) => asked(`${name}.${String(key)}`, args) ?? []),
    })
  const fleet: MadeUpFleet = {
    calls,
    answers,
    waiting,
    watchers,
    known,
    agents: side<AgentSide>('agents', {
      async centralJob(...args) {
        return asked('agents.centralJob', args) as never
      },
      work(host, { wait }, signal) {
        calls.push({ name: 'agents.work', args: [host] })
        return new Promise((resolve, reject) => {
          const timer = setTimeout(() => end([]), wait)
          const abort = () => {
            clearTimeout(timer)
            waiting.delete(host)
            calls.push({ name: 'aborted', args: [host] })
            reject(signal.reason)
          }
          const end = (works: Work[]) => {
            clearTimeout(timer)
            signal.removeEventListener('abort', abort)
            waiting.delete(host)
            resolve(works)
          }
          if (signal.aborted) return abort()
          waiting.set(host, end)
          signal.addEventListener('abort', abort, { once: true })
        })
      },
    }),
    people: side<Fleet['people']>('people', {
      watch(changed) {
        watchers.add(changed)
        return () => void watchers.delete(changed)
      },
    }),
    tokens: side<TokenSide>('tokens', {
      async make({ name, kind, guests = [] }) {
        calls.push({ name: 'tokens.make', args: [{ name, kind, guests }] })
        const text = fleet.token(name, kind)
        known.get(text)!.guests = guests
        return { id: known.get(text)!.id, text }
      },
      async list() {
        return [...known.values()]
      },
      async check(text) {
        calls.push({ name: 'tokens.check', args: [text] })
        return known.get(text) ?? null
      },
    }),
    sessions: { read: async () => [], write: async () => {} },
    give: (host, works) => waiting.get(host)!(works),
    change(...topics) {
      for (const changed of watchers) changed(new Set(topics))
    },
    token(name, kind) {
      const id = randomBytes(6).toString('hex')
      const text = `vmapipe.${id}.${randomBytes(12).toString('base64url')}`
      known.set(text, {
        ...{ id, name, kind, guests: [] },
        ...{ created: '2026-11-29T00:00:00.000Z', used: null, revoked: null },
      })
      return text
    },
    setStorages() {},
    async close() {
      calls.push({ name: 'close', args: [] })
    },
  }
  return fleet
}
