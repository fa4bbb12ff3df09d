/**
 * A guest's serial console, which QEMU writes to a file. What the guest's scripts say is in the file before they go on:
 * so a look at the file before an instant and one after it give bounds that hold for the instant.
 */

import { closeSync, openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 10

export class Console {
  readonly #fd: number
  readonly #buffer = Buffer.alloc(65536)
  #text = ''

  constructor(path: string) {
    this.#fd = openSync(path, 'r')
  }

  /** All that the guest has said by now. */
  get text(): string {
    for (;;) {
      const got = readSync(this.#fd, this.#buffer)
      if (got === 0) return this.#text
      this.#text += this.#buffer.toString('latin1', 0, got).replaceAll('\r', '')
    }
  }

  /** The whole lines that match; `pattern` counts from a line's start. */
  matches(pattern: string): RegExpExecArray[] {
    return [...this.text.matchAll(new RegExp(`^${pattern}\\n`, 'gm'))]
  }

  /** The first line that matches, as soon as it is there. Fails when the guest fails, ends without it, or takes too long. */
  async waitFor(pattern: string, timeoutMs: number, ended: () => boolean): Promise<RegExpExecArray> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const over = ended()
      const [found] = this.matches(pattern)
      if (found) return found
      const reason =
        this.#failure() ?? (over ? 'it ended' : Date.now() > deadline ? `${timeoutMs} ms are over` : undefined)
      if (reason !== undefined) throw new Error(`the guest did not say ${pattern}: ${reason}\n${this.tail()}`)
      await sleep(POLL_MS)
    }
  }

  /** What the kernel said of failed requests and of a filesystem in trouble: nothing, when its disks are well. */
  get diskErrors(): string[] {
    return this.text
      .split('\n')
      .filter((line) =>
        /I\/O error|EXT4-fs (error|warning)|JBD2: .*[Ee]rror|Remounting filesystem read-only/.test(line),
      )
  }

  /** The last lines, for people. */
  tail(): string {
    return this.text.split('\n').slice(-25).join('\n')
  }

  close(): void {
    closeSync(this.#fd)
  }

  #failure(): string | undefined {
    return /^FAIL .*|^Kernel panic.*/m.exec(this.text)?.[0]
  }
}
