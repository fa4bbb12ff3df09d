/** `vmapipe serve` as a child process, as its user runs it, and its control socket. */

import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlClient } from '../../src/live/control/client.ts'
import type { BackupOutcome, ServiceStatus } from '../../src/live/control/controlled-service.ts'
import { spawnTied } from '../../src/system/child.ts'
import { LAUNCHER } from '../cli/cli.ts'
import { tmpDir } from '../support/tmp.ts'

type Hooks = { after(hook: () => unknown): void }

const NODE_COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/vmapipe-test')

/** Serves these drives until the test ends, or `stop`; on sockets in `dir`. */
export async function serve(
  t: Hooks,
  drives: Record<string, string>,
  flags: string[] = [],
  dir = tmpDir(t),
  env: Record<string, string> = {},
): Promise<Serving> {
  const named = Object.entries(drives).flatMap(([name, source]) => ['-d', `${name}=${source}`])
  return serveBy(t, ['serve', ...named, ...flags], dir, env)
}

/** The same with any command that serves. */
export async function serveBy(
  t: Hooks,
  command: string[],
  dir = tmpDir(t),
  env: Record<string, string> = {},
): Promise<Serving> {
  const socket = join(dir, 'nbd')
  const control = join(dir, 'ctl')
  const args = [LAUNCHER, ...command, '--socket', socket, '--control', control, '--ready-fd', '3']
  const child = spawnTied(process.execPath, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE, ...env },
  })
  const serving = new Serving(child, socket, control)
  t.after(() => child.kill('SIGKILL'))
  await serving.ready()
  return serving
}

export class Serving {
  readonly child: ChildProcess
  readonly socket: string
  readonly control: string
  readonly client: ControlClient
  /** What it has said by now. */
  log = ''
  readonly #exit: Promise<number | null>

  constructor(child: ChildProcess, socket: string, control: string) {
    this.child = child
    this.socket = socket
    this.control = control
    this.client = new ControlClient(control)
    this.#exit = once(child, 'exit').then(([code]) => code)
    child.stderr!.on('data', (text) => {
      this.log += text
    })
  }

  async ready(): Promise<void> {
    const [line] = (await Promise.race([
      once(this.child.stdio[3] as Readable, 'data'),
      this.#exit.then(() => ['']),
    ])) as [Buffer | string]
    assert.equal(String(line), 'READY=1\n', `it did not start: ${this.log}`)
  }

  uri(drive: string): string {
    return `nbd+unix:///${drive}?socket=${this.socket}`
  }

  status(): Promise<ServiceStatus> {
    return this.client.status()
  }

  /** One request to the control socket; the body is not read yet. */
  ask(method: string, path: string, body?: string): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.control, method, path, agent: false }, resolve)
      asked.on('error', reject)
      asked.end(body)
    })
  }

  /** The same with the whole answer, parsed. */
  async json(method: string, path: string, body?: string): Promise<{ code: number; body: any; headers: any }> {
    const response = await this.ask(method, path, body)
    const text = (await response.toArray()).join('')
    return { code: response.statusCode!, body: text === '' ? null : JSON.parse(text), headers: response.headers }
  }

  /** How the backup that runs, or the one before, has ended. */
  async ended(): Promise<BackupOutcome> {
    for (;;) {
      const { backup, last } = await this.status()
      if (backup === null && last !== null) return last
      await sleep(20)
    }
  }

  /** Ends it as systemd does; gives its exit code. */
  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM')
    return this.#exit
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.#exit
  }

  /** Open descriptors, by number. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.child.pid}/fd`).length
  }

  /** Bytes of resident memory. */
  get resident(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, 'latin1'))![1]) * 1024
  }
}
