/**
 * Decides whether a guest has booted: its agent answers, a pattern is on its serial console, or its screen has stopped changing at
 * something that answers a key. Everything that it looks at is the guest's, which may be hostile: it is bounded, and nothing but text.
 */

import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { QmpClient } from '../../protocol/qmp/client.ts'
import { LineSocket } from '../../protocol/qmp/line-socket.ts'
import { AcceleratorError } from './accelerator.ts'
import { AGENT_PORT } from './arguments.ts'
import { content, type Screen } from './screen.ts'
import { Stillness } from './stillness.ts'

export interface ProofOptions {
  /** Proven when a line of the console matches. */
  pattern?: RegExp | undefined
  /** Proven when the screen was still for so many milliseconds; not unless given. */
  still?: number | undefined
  /** Takes a picture; null if there is none. */
  look(): Promise<Screen | null>
  signal: AbortSignal
}

export interface Verdict {
  passed: boolean
  /** Without the time, such as "the guest agent answered". */
  detail: string
}

/**
 * Resolves with the first verdict. It never resolves if nothing is proven: the caller has the time limit. Throws an AcceleratorError if
 * the guest cannot go on for a reason that is not the guest's.
 */
export function prove(qmp: QmpClient, agent: Socket, console: Readable, options: ProofOptions): Promise<Verdict> {
  return new Promise((resolve, reject) => {
    watchEvents(qmp, resolve)
    watchState(qmp, reject)
    watchAgent(qmp, agent, options.signal, resolve)
    watchConsole(console, options.pattern, resolve)
    // A monitor that is gone ends it by QEMU's exit.
    if (options.still !== undefined) watchScreen(qmp, options.still, options).then(resolve, () => {})
  })
}

type Decide = (verdict: Verdict) => void

/** A guest may start again once or twice, as after it has found other hardware. */
const MOST_RESTARTS = 4

function watchEvents(qmp: QmpClient, decide: Decide): void {
  let restarts = 0
  qmp.on(({ event, data }) => {
    if (event === 'RESET' && ++restarts > MOST_RESTARTS)
      decide({ passed: false, detail: 'the guest starts again and again' })
    if (event === 'SHUTDOWN') decide({ passed: false, detail: 'the guest switched itself off' })
    if (event === 'GUEST_PANICKED') decide({ passed: false, detail: 'the kernel of the guest panicked' })
    if (event === 'BLOCK_IO_ERROR')
      decide({ passed: false, detail: `a drive of the guest fails: ${String((data as { reason?: unknown })?.reason)}` })
  })
}

/** KVM may meet something that it cannot run, above all where it is itself in a virtual machine. QEMU stops the guest then, for ever. */
function watchState(qmp: QmpClient, fail: (error: Error) => void): void {
  const look = async () => {
    const { status } = (await qmp.execute('query-status')) as { status?: unknown }
    if (status !== 'internal-error') return
    const hint = 'boot it emulated: --accel tcg'
    fail(new AcceleratorError('FAILED', 'QEMU stopped the guest with an internal error of KVM', { hint }))
  }
  // A monitor that is gone ends it by QEMU's exit.
  const check = () => void look().catch(() => {})
  qmp.on(({ event }) => {
    if (event === 'STOP') check()
  })
  check()
}

const ASK_MS = 2000
/** Bytes of a line of the agent. Its answers to a sync are shorter than 100. */
const LONGEST_ANSWER = 4096

/** Asks the agent again and again, from when the guest has opened its port. */
function watchAgent(qmp: QmpClient, socket: Socket, signal: AbortSignal, decide: Decide): void {
  const asked = new Set<number>()
  const line = (text: string) => {
    const id = returned(text)
    if (id !== null && asked.has(id)) decide({ passed: true, detail: 'the guest agent answered' })
  }
  const lines = new LineSocket(socket, { line, ended: () => clearInterval(timer) }, LONGEST_ANSWER)
  let isOpen = false
  qmp.on(({ event, data }) => {
    const { id, open } = (data ?? {}) as { id?: unknown; open?: unknown }
    if (event === 'VSERPORT_CHANGE' && id === AGENT_PORT) isOpen = open === true
  })
  const timer = setInterval(() => {
    if (!isOpen) return
    const id = Math.floor(Math.random() * 2 ** 31)
    asked.add(id)
    // The byte makes the agent forget the rest of an earlier command.
    lines.write(Buffer.of(0xff))
    lines.send({ execute: 'guest-sync', arguments: { id } })
  }, ASK_MS)
  signal.addEventListener('abort', () => {
    clearInterval(timer)
    lines.close()
  })
}

function returned(text: string): number | null {
  try {
    const { return: value } = JSON.parse(text)
    return typeof value === 'number' ? value : null
  } catch {
    return null
  }
}

/** Characters of a line that are looked at: a pattern may take long on more. */
const LONGEST_LINE = 1000
const PANIC = /Kernel panic - not syncing|BUG: unable to handle kernel/

function watchConsole(console: Readable, pattern: RegExp | undefined, decide: Decide): void {
  let rest = ''
  console.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split(/[\r\n]+/)
    // Also the line that has not ended: "login: " never does.
    for (const line of lines) {
      const plain = line.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '').slice(0, LONGEST_LINE)
      if (pattern?.test(plain)) decide({ passed: true, detail: 'the pattern is on the console' })
      else if (PANIC.test(plain)) decide({ passed: false, detail: 'the kernel of the guest panicked' })
    }
    rest = lines.at(-1)!.slice(-LONGEST_LINE)
  })
}

/** Between two pictures. They differ, so that a cursor does not blink at the same rhythm. */
const LOOK_MS = [1000, 1700] as const
/** The part of a screen that may blink: a cursor of text is 0.05 % of the smallest screen. */
const BLINK = 0.001
/** What a screen has at least, without which nobody logs in there. */
const LEAST_CONTENT = 0.0005
/** Bytes that a system reads at least before it asks for a login. Firmware and boot loaders, which answer keys too, read less. */
const LEAST_READ = 8 << 20
/** Bytes that are read while the screen is still: more are a boot that goes on, less may be what runs in the background. */
const MOST_READ = 1 << 20
/** Milliseconds that a guest has to show what was typed. */
const ECHO_MS = 5000
/** A login answers each time, after the screen was still each time. */
const ANSWERS = 2
/** Pixels of some letters. A cursor that moves, of a block as large as a letter, is fewer. */
const WORD = 150

/** Resolves when the screen has been still for so long, and answers a key. */
async function watchScreen(qmp: QmpClient, still: number, { look, signal }: ProofOptions): Promise<Verdict> {
  let watched: Stillness | null = null
  let readBefore = 0
  let answers = 0
  for (;;) {
    await sleep(LOOK_MS[0] + Math.random() * (LOOK_MS[1] - LOOK_MS[0]), undefined, { signal })
    const now = await look()
    if (now === null) continue
    if (watched === null || watched.add(now) > BLINK) {
      watched = new Stillness(now)
      readBefore = await bytesRead(qmp)
      continue
    }
    if (watched.milliseconds < still || content(now) < LEAST_CONTENT) continue
    const read = await bytesRead(qmp)
    const isAtRest = read >= LEAST_READ && read - readBefore <= MOST_READ
    // Once may be chance: a boot that had stopped for a while goes on just then.
    answers = isAtRest && (await answersKey(qmp, watched, look, signal)) ? answers + 1 : 0
    if (answers === ANSWERS)
      return { passed: true, detail: `the screen was still for ${still / 1000} s, and answers a key` }
    watched = null
  }
}

/**
 * Presses Enter at what may be a login, which asks again then. A letter would prove nothing: the console of a system that hangs echoes it,
 * and of Enter it shows no more than a cursor that moves, or scrolls.
 */
async function answersKey(
  qmp: QmpClient,
  watched: Stillness,
  look: ProofOptions['look'],
  signal: AbortSignal,
): Promise<boolean> {
  await qmp.execute('send-key', { keys: [{ type: 'qcode', data: 'ret' }] })
  const end = performance.now() + ECHO_MS
  while (performance.now() < end) {
    await sleep(400, undefined, { signal })
    const after = await look()
    if (after !== null && watched.newPixels(after) >= WORD) return true
  }
  return false
}

async function bytesRead(qmp: QmpClient): Promise<number> {
  const devices = (await qmp.execute('query-blockstats')) as { stats?: { rd_bytes?: unknown } }[]
  if (!Array.isArray(devices)) return 0
  return devices.reduce((sum, { stats }) => sum + (Number(stats?.rd_bytes) || 0), 0)
}
