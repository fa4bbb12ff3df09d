/** Our own commands, as processes of their own: as a user starts them. */

import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'

/** From the sources and from the compiled package alike. */
const LAUNCHER = fileURLToPath(new URL('../../../src/cli/vmapipe.js', import.meta.url))

/** What it says on standard error is kept as far as this. */
const MAX_SAID = 4096

export class Command {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #exit: Promise<number | null>
  #said = ''

  constructor(args: readonly string[], cwd: string) {
    this.#name = `vmapipe ${args[0]}`
    this.#child = spawnTied(process.execPath, [LAUNCHER, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
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

  /** Resolves when it says on descriptor 3 that it is ready; rejects when it ends instead. */
  async ready(): Promise<void> {
    const told = new Promise((resolve) => (this.#child.stdio[3] as Readable).once('data', resolve))
    await Promise.race([told, this.#exit.then((code) => Promise.reject(this.#failure(code)))])
  }

  /** Resolves when it has ended well. */
  async done(): Promise<void> {
    const code = await this.#exit
    if (code !== 0) throw this.#failure(code)
  }

  /** Asks it to end, and waits for that. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#exit.catch(() => {})
  }

  #failure(code: number | null): VmapipeError {
    const [line] = this.#said.trim().split('\n').slice(-1)
    return new VmapipeError('FAILED', `${this.#name} ended with ${code ?? 'a signal'}: ${line}`)
  }
}
