/**
 * One virsh, which reads commands from a pipe and runs them one after the other. Each answer is found between two marks. All commands
 * may be given at once. virsh runs what is in the pipe even if we are killed: so a guest that one command has paused is continued by a
 * later one.
 *
 * Seen with virsh 9.0: it shows a prompt and repeats each line (readline does, which takes every byte but printable ASCII for a key).
 * It continues after a command that failed. It flushes its output at each prompt and before each error.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_LINE } from './lines.ts'

interface ShellListener {
  /** The output of the oldest command that has no answer, with its errors. */
  answered(text: string): void
  /** virsh has ended. Nothing comes after it. */
  ended(error: VmapipeError): void
}

/**
 * Puts the errors of virsh among its answers, in order. virsh would end in the middle of its commands if nobody read its output. So
 * if we are killed, another `cat` reads on.
 */
const SCRIPT = '{ virsh -q 2>&1; printf "\\nended: %s\\n" "$?"; } | { cat; exec cat >/dev/null; }'
const ENDED = /\nended: (\d+)\n$/

const PROMPT = 'virsh # '

/** Exit codes of a shell: no such program, and 128 plus the number of a signal. */
const NOT_FOUND = 127
const BY_SIGNAL = 128

export class VirshShell {
  /** A random text for the marks. QEMU does not know it, so its answers cannot look like a mark. */
  readonly #token = randomBytes(12).toString('hex')
  readonly #child: ChildProcessWithoutNullStreams
  readonly #listener: ShellListener
  #asked = 0
  #answered = 0
  #text = ''
  #failure: VmapipeError | null = null

  /** `uri`: that of libvirt; virsh chooses by default. */
  constructor(listener: ShellListener, uri?: string) {
    this.#listener = listener
    // Has a session of its own, so that Ctrl-C does not end it: we still need virsh then.
    this.#child = spawn('sh', ['-c', SCRIPT], { env: environment(uri), detached: true })
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#received(text))
    // The `close` event tells why.
    this.#child.stdin.on('error', () => {})
    this.#child.on('error', (cause) => {
      this.#failure ??= new VmapipeError('FAILED', `virsh cannot be started: ${cause.message}`, { cause })
    })
    this.#child.on('close', () => listener.ended(this.#failure ?? whyEnded(this.#text)))
  }

  /** Gives virsh a command: words as `quoted` makes them. */
  ask(command: string): void {
    const id = ++this.#asked
    // The mark is in two parts here, because virsh repeats the line.
    this.#child.stdin.write(`echo '${this.#token}''(${id}'; ${command}; echo '${this.#token}'')${id}'\n`)
  }

  kill(): void {
    const { pid } = this.#child
    if (pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    process.kill(-pid, 'SIGKILL')
  }

  #received(text: string): void {
    if (this.#failure !== null) return
    let from = Math.max(0, this.#text.length - this.#token.length - 20)
    this.#text += text
    for (;;) {
      const id = this.#answered + 1
      const mark = `${this.#token})${id}`
      const end = this.#text.indexOf(mark, from)
      if (end === -1) break
      const opening = `${this.#token}(${id}`
      const start = this.#text.lastIndexOf(opening, end)
      const answer = this.#text.slice(start === -1 ? 0 : start + opening.length, end)
      this.#text = this.#text.slice(end + mark.length)
      from = 0
      this.#answered = id
      this.#listener.answered(answer.trim())
    }
    if (this.#text.length <= MAX_LINE) return
    this.#failure = new VmapipeError('FAILED', `virsh printed more than ${MAX_LINE} bytes for one answer`)
    this.kill()
  }
}

/** Quotes a word of printable ASCII for virsh. Within single quotes there is no escape, so a single quote itself is put outside. */
export function quoted(text: string): string {
  if (!isPlain(text)) throw new VmapipeError('FAILED', `virsh cannot be given ${JSON.stringify(text)}`)
  return `'${text.replaceAll("'", `'"'"'`)}'`
}

/** Whether virsh's line editor takes every character as it is. */
export function isPlain(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text)
}

/** The first error of virsh in its output, such as "error: failed to get domain 'x'". */
export function virshError(text: string): VmapipeError | null {
  const line = text.split('\n').find((line) => line.startsWith('error: '))
  return line === undefined ? null : new VmapipeError('FAILED', line.replace('error: ', 'virsh: ').slice(0, 200))
}

/** The environment for virsh: errors in English, no key bindings of the user, and no lines in the user's history of virsh. */
export function environment(uri?: string): NodeJS.ProcessEnv {
  const plain = { LC_ALL: 'C', TERM: 'dumb', INPUTRC: '/dev/null', XDG_CACHE_HOME: '/dev/null' }
  return { ...process.env, ...plain, ...(uri !== undefined && { VIRSH_DEFAULT_CONNECT_URI: uri }) }
}

export function notInstalled(cause?: unknown): VmapipeError {
  const hint = 'install libvirt-clients, or use --qmp SOCKET'
  return new VmapipeError('FAILED', 'virsh is not installed', { cause, hint })
}

function whyEnded(text: string): VmapipeError {
  const code = Number(ENDED.exec(text)?.[1] ?? BY_SIGNAL + constants.signals.SIGKILL)
  if (code === NOT_FOUND) return notInstalled()
  const how = code > BY_SIGNAL ? `by signal ${code - BY_SIGNAL}` : `with exit code ${code}`
  const last = text.replace(ENDED, '').trim().split('\n').at(-1)!
  const said = last === '' || last.startsWith(PROMPT) ? '' : `, after it had printed '${last.slice(0, 60)}'`
  return virshError(text) ?? new VmapipeError('FAILED', `virsh has ended ${how}${said}`)
}
