/** Runs our own commands as processes, as a user starts them. */

import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'

/** The path of the command, in the sources and in the compiled package. */
const LAUNCHER = fileURLToPath(new URL('../../../src/cli/vmapipe.js', import.meta.url))

/** Characters of standard error that are kept. */
const MAX_SAID = 4096

export class DemoCommand {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #exit: Promise<number | null>
  #said = ''

  constructor(args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}) {
    this.#name = `vmapipe ${args[0]}`
    this.#child = spawnTied(process.execPath, [LAUNCHER, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    this.#child.stderr!.on('data', (text) => {
      this.#said = (this.#said + text).slice(-MAX_SAID)
    })
    this.#exit = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('close', resolve)
    })
    this.#exit.catch(() => {})
  }

  get stdout(): Readable {
    return this.#child.stdout!
  }

  /** Resolves when the command says on descriptor 3 that it is ready. Rejects if it ends instead. */
  async ready(): Promise<void> {
    const told = new Promise((resolve) => (this.#child.stdio[3] as Readable).once('data', resolve))
    await Promise.race([told, this.#exit.then((code) => Promise.reject(this.#failure(code)))])
  }

  /** Resolves when it has ended with exit code 0. */
  async done(): Promise<void> {
    const code = await this.#exit
    if (code !== 0) throw this.#failure(code)
  }

  /** Asks it to end, and waits until it has ended. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#exit.catch(() => {})
  }

  #failure(code: number | null): VmapipeError {
    const [line] = this.#said.trim().split('\n').slice(-1)
    return new VmapipeError('FAILED', `${this.#name} ended with ${code ?? 'a signal'}: ${line}`)
  }
}
