/** All hosts of the benchmark, in a process of their own. They end backups at the rate that is asked for. */

import { MadeUpHost, type RunWork } from './made-up-host.ts'
import { answerParent } from './messages.ts'

interface Begin {
  url: string
  hosts: { host: string; token: string; storage: string; guests: { name: string; identity: string }[] }[]
  parallel: number
}

/** Hosts that begin at once. */
const AT_ONCE = 16

const hosts: MadeUpHost[] = []
let failures: string[] = []
/** Moments at which a slot of a storage became free, and has not been used since. */
const freed = new Map<string, number[]>()
/** Milliseconds from then until a backup was received. */
let dispatch: number[] = []
let dueAt = 0
/** Milliseconds from the time at which all were due until the first backups were received. */
let first: number[] = []
let ended = 0
const running: { host: MadeUpHost; id: string }[] = []

function received(host: MadeUpHost, work: RunWork): void {
  const now = Date.now()
  running.push({ host, id: work.id })
  const before = freed.get(host.options.storage)?.shift()
  if (before === undefined) first.push(now - dueAt)
  else dispatch.push(now - before)
}

/** Of the backups that run, any may be the next to end, as times of backups differ. */
function endOne(): void {
  if (running.length === 0) return
  const at = Math.floor(Math.random() * running.length)
  const { host, id } = running[at]
  running[at] = running.at(-1)!
  running.pop()
  const { storage } = host.options
  freed.set(storage, [...(freed.get(storage) ?? []), Date.now()])
  ended += 1
  host.end(id).catch((error) => failures.push(String(error)))
}

let rate = 0
let timer: NodeJS.Timeout | undefined

function endNext(): void {
  if (rate === 0) return
  timer = setTimeout(
    () => {
      endOne()
      endNext()
    },
    (-Math.log(1 - Math.random()) / rate) * 1000,
  )
}

async function all(action: (host: MadeUpHost) => Promise<void>): Promise<void> {
  const left = [...hosts]
  const one = async () => {
    for (let host = left.pop(); host !== undefined; host = left.pop()) await action(host)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
}

answerParent({
  async begin({ url, hosts: made, parallel }: Begin) {
    const failed = (what: string) => failures.push(what)
    for (const one of made) hosts.push(new MadeUpHost({ ...one, url, parallel, received, failed }))
    await all((host) => host.begin())
  },
  /** Tells the planner that the jobs of all hosts are due then. */
  async due(at: number) {
    dueAt = at
    first = []
    await all((host) => host.inventory([new Date(at).toISOString()]))
  },
  /** Backups that end in a second, of all hosts. */
  async rate(perSecond: number) {
    clearTimeout(timer)
    rate = perSecond
    endNext()
  },
  /** What was measured since this was last asked. */
  async measured() {
    const result = { dispatch, first, ended, running: running.length, failures }
    dispatch = []
    first = []
    ended = 0
    failures = []
    return result
  },
  async stop() {
    rate = 0
    for (const host of hosts) host.stop()
    setTimeout(() => process.exit(), 100)
  },
})
