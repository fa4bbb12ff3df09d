/**
 * The planner as a whole, for those who talk to it: agents over HTTP, people by the command line and the page. It knows who asks: each call
 * of an agent carries the host that its token is for, and nothing that an agent says about another host's works is taken.
 */

import type { Beat, BeatReply } from './messages/beat.ts'
import type { AgentArchive, AgentEvent } from './messages/events.ts'
import type { Hello, HelloReply } from './messages/hello.ts'
import type { AgentGuest, AgentJob, CentralJob, Inventory, InventoryReply } from './messages/inventory.ts'
import type { Work, WorkAsked } from './messages/work.ts'

/** What agents say. `host` is that of the token. Errors: USAGE for a protocol that is too old or too new, FAILED if the database is away. */
export interface AgentSide {
  hello(host: string, said: Hello): Promise<HelloReply>
  inventory(host: string, said: Inventory): Promise<InventoryReply>
  centralJob(host: string, name: string): Promise<CentralJob | null>
  beat(host: string, said: Beat): Promise<BeatReply>
  /** Waits for work. It is given again, with a higher `attempt`, if the host dies or restarts before it has told the end. */
  work(host: string, asked: WorkAsked, signal: AbortSignal): Promise<Work[]>
  /** Returns the ids that were taken. */
  events(host: string, said: AgentEvent[]): Promise<string[]>
}

/** A host, for people. Times are ISO 8601. */
export interface HostRow {
  host: string
  state: 'up' | 'gone' | 'drained' | 'never'
  version: string | null
  zone: string | null
  labels: string[]
  /** When it was last heard of. */
  seen: string | null
  /** Seconds that its clock is ahead of the planner's. */
  skew: number | null
  guests: number
  running: number
  parallel: number | null
  warnings: string[]
}

/** A guest of the fleet. */
export interface FleetGuestRow extends Omit<AgentGuest, 'jobs'> {
  /** The host that it is on, or was last seen on. */
  host: string
  jobs: string[]
  promise: number | null
  /** `unprotected`: in no job, or its host is gone. `overdue`: older than promised. */
  state: 'good' | 'late' | 'overdue' | 'unprotected'
  /** Why, if it is not good; also if two hosts claim it. */
  problem: string | null
}

export interface WorkRow {
  id: string
  kind: Work['kind']
  host: string
  job: string | null
  guest: string | null
  due: string
  state: 'waiting' | 'running' | 'done' | 'failed' | 'canceled' | 'lost'
  attempt: number
  began: string | null
  ended: string | null
  /** What it waits for, or why it failed; one line. */
  reason: string | null
  /** Progress, if its host is looked at. */
  progress: Record<string, unknown> | null
  report: Record<string, unknown> | null
}

export interface FleetStatus {
  hosts: Record<HostRow['state'], number>
  guests: Record<FleetGuestRow['state'], number>
  /** Works that run, and those that wait, with what for. */
  running: WorkRow[]
  waiting: WorkRow[]
  /** What people should know, such as a database that was away. */
  problems: string[]
}

export interface JobRow extends AgentJob {
  host: string
}

export interface CentralJobRow {
  name: string
  text: string
  labels: string[]
  /** The hosts that it is given to now. */
  hosts: string[]
  problem: string | null
}

/** What people may look at and ask for. Errors: USAGE for what is not there. */
export interface PeopleSide {
  status(): Promise<FleetStatus>
  hosts(): Promise<HostRow[]>
  guests(): Promise<FleetGuestRow[]>
  jobs(): Promise<JobRow[]>
  /** The newest first. */
  works(filter: { host?: string; job?: string; guest?: string; since?: string; most: number }): Promise<WorkRow[]>
  archives(filter: { guest?: string; host?: string }): Promise<(AgentArchive & { host: string; job: string })[]>
  drain(host: string, drained: boolean): Promise<void>
  /** Forgets a host that is gone for good. */
  forgetHost(host: string): Promise<void>
  /** Begins what was asked for as soon as limits let it. Returns the ids of the works. */
  start(asked: { host?: string; job: string; guests?: string[]; full?: boolean }): Promise<string[]>
  verify(asked: { host: string; job: string; archive: string; boot?: boolean }): Promise<string>
  prune(asked: { host: string; job: string; guest?: string }): Promise<string>
  cancel(work: string, reason: string): Promise<void>
  /** Asks every host for its guests and archives, and forgets what no place has. */
  rescan(): Promise<void>
  centralJobs(): Promise<CentralJobRow[]>
  /** Keeps a central job, and gives it to the hosts with its labels. Throws CONFIG, with line and column, for what a central job cannot have. */
  putCentralJob(name: string, text: string): Promise<void>
  removeCentralJob(name: string): Promise<void>
  /** Called each time that something has changed, at most four times a second. Returns what ends it. While it is listened to, agents are asked for progress. */
  watch(changed: (topics: ReadonlySet<FleetTopic>) => void): () => void
}

/** What can change: `now` is what runs, waits, or is a problem. */
export const FLEET_TOPICS = ['now', 'hosts', 'guests', 'jobs', 'archives'] as const
export type FleetTopic = (typeof FLEET_TOPICS)[number]

/** A backup that has ended, for trends. */
export interface EndedBackup {
  at: string
  /** Bytes and seconds; 0 if its host has not told them. */
  stored: number
  seconds: number
  outcome: WorkRow['state']
}

/** The backups of a job on a host that were due at one time, as far as they have ended. */
export interface RunSummary {
  host: string
  job: string
  due: string
  started: string
  ended: string
  done: number
  failed: number
  /** Bytes, as far as its host has told them. */
  stored: number
}

/**
 * What the page shows all the time, in the process of the planner alone: it costs little in a large fleet. Runs and backups are never
 * changed, so what is made of them can be kept as long as they are the same.
 */
export interface LookSide {
  /** What is open: the same as in the status, without counting hosts and guests. At most `most` of those that wait, and how many there are. */
  open(most: number): Promise<Pick<FleetStatus, 'running' | 'waiting' | 'problems'> & { allWaiting: number }>
  /** Works that are no backups: the newest first. */
  tasks(since: string, most: number): Promise<WorkRow[]>
  /** The last backups of a guest, the oldest first. */
  lastBackups(): Promise<(guest: string) => readonly EndedBackup[]>
  /** Those that began since then: the newest first. */
  runs(filter: { host?: string; job?: string; since: string }): Promise<readonly RunSummary[]>
}

/** A token; never its secret, of which only a hash is kept. */
export interface TokenRow {
  id: string
  /** The host of an agent; for people's tokens their name. */
  name: string
  kind: 'agent' | 'person'
  /** Patterns of guests that the host may claim; all by default. */
  guests: string[]
  created: string
  used: string | null
  revoked: string | null
}

export interface TokenSide {
  /** Returns the text of the token. It is shown once. */
  make(asked: { name: string; kind: TokenRow['kind']; guests?: string[] }): Promise<{ id: string; text: string }>
  list(): Promise<TokenRow[]>
  revoke(id: string): Promise<void>
  /** Who a token is for; null if there is none, or it was revoked. Takes the same time for all texts. */
  check(text: string): Promise<TokenRow | null>
}

/** A session of the page. What its cookie says is kept as a hash alone; `content` is the page's own. */
export interface KeptSession {
  hash: string
  /** Milliseconds since 1970. */
  expires: number
  content: Record<string, unknown>
}

/** Keeps who is signed in to the page over a restart. */
export interface SessionStore {
  read(): Promise<KeptSession[]>
  /** Keeps these as they are now, and forgets those of the hashes. */
  write(kept: readonly KeptSession[], gone: readonly string[]): Promise<void>
  /** Called when another process may have written to it since it was read. */
  onChange?(changed: () => void): void
}

export interface Fleet {
  readonly agents: AgentSide
  readonly people: PeopleSide & LookSide
  readonly tokens: TokenSide
  readonly sessions: SessionStore
  /** Other limits of storages: they count for what begins from now on. */
  setStorages(storages: Record<string, { parallel: number }>): void
  close(): Promise<void>
}
