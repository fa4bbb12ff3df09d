/** Runs a program that an archive is piped through. Knows what it wrote on stderr and how it ended, and can end it. */

import type { ChildProcess, StdioOptions } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'
import { familyOf, signalFamily } from '../../system/family.ts'
import { guardFamily } from '../../system/family-guard.ts'

/** How long a program may take to end by itself after it has closed its end of the pipe. */
const GRACE_MS = 2000

/** How long it may take to end after SIGTERM. Shorter than the time in which a signal to this process ends everything. */
const KILL_MS = 1000

/** How long to wait for the last text on stderr after the program has ended. A background process of its own may keep stderr open for ever. */
const STDERR_GRACE_MS = 200

const LONGEST_LINE = 500

interface CommandOptions {
  program: string
  args: readonly string[]
  /** For messages: "the command 'x'". */
  name: string
  stdin: 'pipe' | 'ignore'
  /** Where its standard output goes; `stderr` shows it to the user. */
  stdout: 'pipe' | 'stderr'
  warn: (line: string) => void
}

export class Command {
  readonly #child: ChildProcess
  readonly #name: string
  readonly #warn: (line: string) => void
  /** Resolves when it has ended, in any way; with `null` if it could not be started. */
  readonly #ended: Promise<{ code: number | null; signal: NodeJS.Signals | null } | null>
  #startError: Error | null = null
  #isOver = false
  #isKilled = false
  /** The last line on stderr. It is held back, because it becomes a part of the error if there is one. */
  #lastLine = ''
  #halfLine = ''

  constructor({ program, args, name, stdin, stdout, warn }: CommandOptions) {
    this.#name = name
    this.#warn = warn
    const stdio: StdioOptions = [stdin, stdout === 'stderr' ? 2 : 'pipe', 'pipe']
    const guard = guardFamily()
    this.#child = spawnTied(program, args, { stdio, env: guard.env })
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve({ code, signal }))
      this.#child.once('error', (error) => {
        this.#startError ??= error
        if (this.#child.pid === undefined) resolve(null)
      })
    })
    void this.#ended.then((end) => {
      this.#isOver = true
      if (this.#isKilled || end?.signal) guard.end()
      else guard.release()
    })
    this.#child.stderr!.on('data', (data: Buffer) => this.#hear(data.toString()))
  }

  /** The last line on stderr. It is complete after `failure`. */
  get lastWords(): string {
    return this.#lastLine
  }

  /** Null while the program runs, and if a signal ended it. */
  get exitCode(): number | null {
    return this.#child.exitCode
  }

  get stdin(): Writable {
    return this.#child.stdin!
  }

  get stdout(): Readable {
    return this.#child.stdout!
  }

  /** Waits for the end of the program. Throws unless its exit code is 0. */
  async succeeded(): Promise<void> {
    const end = await this.#wait()
    if (end?.code !== 0) throw this.#failure(end)
    if (this.#lastLine !== '') this.#warn(this.#lastLine)
    this.#lastLine = ''
  }

  /** The reason why it no longer takes or gives bytes. Ends the program if it is still running. */
  async failure(): Promise<VmapipeError> {
    await Promise.race([this.#ended, sleep(GRACE_MS, undefined, { ref: false })])
    if (!this.#isOver) {
      await this.kill()
      return new VmapipeError('FAILED', `${this.#name} closed its end of the pipe before the archive was complete`)
    }
    return this.#failure(await this.#wait())
  }

  /** Ends the program and what it has started. Call it before its stdin is closed, which would look like the end of the archive to the program. */
  async kill(): Promise<void> {
    if (this.#child.pid === undefined || this.#isOver) return
    this.#isKilled = true
    const { pid } = this.#child
    const family = familyOf(pid)
    signalFamily(family, 'SIGTERM')
    const timer = setTimeout(() => signalFamily(new Set([...familyOf(pid), ...family]), 'SIGKILL'), KILL_MS)
    await this.#ended
    clearTimeout(timer)
  }

  /** Closes its pipes, so that they do not keep this process from ending. */
  release(): void {
    this.#child.stdin?.destroy()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  async #wait() {
    const end = await this.#ended
    const grace = sleep(STDERR_GRACE_MS, undefined, { ref: false })
    await Promise.race([finished(this.#child.stderr!).catch(() => {}), grace])
    this.#hear('\n')
    return end
  }

  #failure(end: { code: number | null; signal: NodeJS.Signals | null } | null): VmapipeError {
    if (end === null) return asVmapipeError(this.#startError)
    const how = end.code === null ? `was ended by ${end.signal}` : `ended with exit code ${end.code}`
    const early = end.code === 0 ? ' before it had taken the whole archive' : ''
    const said = this.#lastLine === '' ? '' : `: ${this.#lastLine}`
    return new VmapipeError('FAILED', `${this.#name} ${how}${early}${said}`)
  }

  #hear(text: string): void {
    const lines = (this.#halfLine + text).split(/[\r\n]+/)
    this.#halfLine = lines.pop()!.slice(0, LONGEST_LINE)
    for (const line of lines) {
      if (line.trim() === '') continue
      if (this.#lastLine !== '') this.#warn(this.#lastLine)
      this.#lastLine = line.slice(0, LONGEST_LINE)
    }
  }
}
