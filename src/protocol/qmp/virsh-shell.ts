/**
 * One virsh that is spoken to: it reads commands from a pipe, runs them one after the other, and each answer is found
 * between two marks. All commands may be given at once: virsh goes on with what is in the pipe even if we are killed,
 * so that a guest which was paused by one command is continued by a later one.
 *
 * Seen with virsh 9.0: it shows a prompt and repeats each line (readline does, which takes every byte but printable
 * ASCII for a key), goes on after a command that failed, flushes its output at each prompt and before each error.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_LINE } from './lines.ts'

interface ShellListener {
  /** What the oldest command that has no answer yet printed, errors too. */
  answered(text: string): void
  /** virsh has ended; nothing comes after it. */
  ended(error: VmapipeError): void
}

/**
 * virsh's errors go where its answers go, in order. It ends when nobody reads what it prints, in the middle of what it was
 * given, so if we are killed another `cat` reads on.
 */
const SCRIPT = '{ virsh -q 2>&1; printf "\\nended: %s\\n" "$?"; } | { cat; exec cat >/dev/null; }'
const ENDED = /\nended: (\d+)\n$/

const PROMPT = 'virsh # '

/** Exit codes of a shell: there is no such program; 128 and a signal's number. */
const NOT_FOUND = 127
const BY_SIGNAL = 128

export class VirshShell {
  /** Nobody but virsh knows it: what QEMU answers cannot look like a mark. */
  readonly #token = randomBytes(12).toString('hex')
  readonly #child: ChildProcessWithoutNullStreams
  readonly #listener: ShellListener
  #asked = 0
  #answered = 0
  #text = ''
  #failure: VmapipeError | null = null

  /** `uri` is that of the libvirt; virsh's own choice by default. */
  constructor(listener: ShellListener, uri?: string) {
    this.#listener = listener
    // In a session of its own: Ctrl-C is for us, and we still need virsh then.
    this.#child = spawn('sh', ['-c', SCRIPT], { env: environment(uri), detached: true })
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => this.#received(text))
    // Its end says all.
    this.#child.stdin.on('error', () => {})
    this.#child.on('error', (cause) => {
      this.#failure ??= new VmapipeError('FAILED', `virsh cannot be started: ${cause.message}`, { cause })
    })
    this.#child.on('close', () => listener.ended(this.#failure ?? whyEnded(this.#text)))
  }

  /** `command`: one or more words as virsh takes them, see `quoted`. */
  ask(command: string): void {
    const id = ++this.#asked
    // In the line itself, which virsh repeats, the mark is in two parts.
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

/** A word for virsh, of printable ASCII: there is no escape within single quotes, which therefore cannot be in it themselves. */
export function quoted(text: string): string {
  if (!isPlain(text)) throw new VmapipeError('FAILED', `virsh cannot be given ${JSON.stringify(text)}`)
  return `'${text.replaceAll("'", `'"'"'`)}'`
}

/** Whether virsh's line editor takes every character of it for itself. */
export function isPlain(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text)
}

/** virsh's own first error: "error: failed to get domain 'x'". */
export function virshError(text: string): VmapipeError | null {
  const line = text.split('\n').find((line) => line.startsWith('error: '))
  return line === undefined ? null : new VmapipeError('FAILED', line.replace('error: ', 'virsh: ').slice(0, 200))
}

/** Errors in English; no key bindings of the user's, and nothing of this goes into the history of the user's virsh. */
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
