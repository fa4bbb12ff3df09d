/**
 * A guestfish of libguestfs, which reads filesystems in a small virtual machine of its own: the kernel of this host never sees a
 * filesystem of a guest. It gets commands on its standard input, so it ends when we end, however that is.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { bytesOf, textOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { findProgram, spawnTied } from '../../system/child.ts'

/** guestfish reads lines of at most 8191 bytes. The rest of a longer one would be another command. */
const LONGEST_LINE = 8000
/** The most bytes of an answer. The lists of a hostile filesystem may be long. */
const MOST_ANSWER = 64 << 20
const MOST_SAID = 16_384

export const HOW_TO_GET =
  'install it (Debian: apt install libguestfs-tools linux-image-amd64; Fedora: dnf install guestfs-tools); or mount it as root, see `vmapipe files --help`'

interface GuestfishOptions {
  /** The socket of the NBD server, and the exports that become /dev/sda, /dev/sdb, … */
  socket: string
  exports: readonly string[]
  signal?: AbortSignal | undefined
}

export class Guestfish {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #answer = ''
  #said = ''
  #look: () => void = () => {}
  #ended = false
  #mark = 0
  readonly #secret = crypto.randomUUID()

  private constructor(child: ChildProcess) {
    this.#child = child
    child.stdin!.on('error', () => {})
    child.stdout!.setEncoding('latin1').on('data', (text: string) => {
      this.#answer += text
      if (this.#answer.length > MOST_ANSWER) child.kill('SIGKILL')
      this.#look()
    })
    child.stderr!.on('data', (text: Buffer) => {
      this.#said = (this.#said + text).slice(-MOST_SAID)
    })
    this.#closed = once(child, 'close').finally(() => {
      this.#ended = true
      this.#look()
    })
    this.#closed.catch(() => {})
  }

  /** Starts the virtual machine. It takes some seconds, and a minute without KVM. FAILED if it cannot be started. */
  static async start({ socket, exports, signal }: GuestfishOptions): Promise<Guestfish> {
    const program = findProgram('guestfish')
    if (program === undefined)
      throw new VmapipeError('FAILED', 'reading files needs guestfish of libguestfs', { hint: HOW_TO_GET })
    const drives = exports.flatMap((name) => [
      '-a',
      `nbd:///${encodeURIComponent(name)}?socket=${encodeURIComponent(socket)}`,
    ])
    const child = spawnTied(program, ['--ro', '--format=raw', ...drives], {
      stdio: ['pipe', 'pipe', 'pipe'],
      // libvirt would start the virtual machine as another user, who cannot use our socket.
      env: { LIBGUESTFS_BACKEND: 'direct', ...process.env },
      deathSignal: 'TERM',
      ...(signal && { signal }),
    })
    const guestfish = new Guestfish(child)
    try {
      await guestfish.run('run')
      return guestfish
    } catch (error) {
      await guestfish.close()
      throw error
    }
  }

  /**
   * Runs a command and returns what it prints. Arguments are text as of `textOf`. FAILED, with what libguestfs says, if it fails: then
   * no other command can follow.
   */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const [answer] = await this.runAll([[command, ...args]])
    return answer
  }

  /** Runs several commands, and returns what each prints. One whose name begins with - may fail, and then prints nothing. */
  async runAll(commands: readonly (readonly string[])[]): Promise<string[]> {
    const marks = commands.map(() => `${this.#secret}-${this.#mark++}`)
    const lines = commands.map(([command, ...args], index) => {
      return `${lineOf(command, args)}\necho ${marks[index]}\n`
    })
    this.#child.stdin!.write(lines.join(''), 'latin1')
    const answers: string[] = []
    for (const mark of marks) answers.push(await this.#upTo(`${mark}\n`))
    return answers
  }

  /** Ends the virtual machine. */
  async close(): Promise<void> {
    this.#child.stdin!.end()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await this.#closed.catch(() => {})
    clearTimeout(timer)
  }

  /** Resolves when it has ended, for whatever reason. */
  get ended(): Promise<void> {
    return this.#closed.then(
      () => {},
      () => {},
    )
  }

  async #upTo(mark: string): Promise<string> {
    for (;;) {
      const at = this.#answer.indexOf(mark)
      if (at >= 0) {
        const answer = this.#answer.slice(0, at)
        this.#answer = this.#answer.slice(at + mark.length)
        return textOf(Buffer.from(answer, 'latin1'))
      }
      if (this.#ended) throw this.failure()
      await new Promise<void>((resolve) => {
        this.#look = resolve
      })
    }
  }

  /** Why it has ended. */
  failure(): VmapipeError {
    const errors = [...this.#said.matchAll(/libguestfs: error: (.*)/g)].map(([, text]) => text)
    const known = errors.find((text) => !/^(\/usr\/bin\/supermin exited|guestfs_launch failed)/.test(text))
    const supermin = /supermin: (?!picked|version)(.*)/.exec(this.#said)?.[1]
    const text = supermin ?? known ?? errors[0] ?? (this.#said.trim().split('\n').at(-1) || 'it ended without a word')
    const isStart = supermin !== undefined || /supermin|guestfs_launch|could not create appliance/.test(errors.join())
    return new VmapipeError('FAILED', `libguestfs: ${text}`, {
      ...(isStart && {
        hint: 'it needs a kernel that it may read: Debian: apt install linux-image-amd64; Ubuntu: chmod +r /boot/vmlinuz-*; `libguestfs-test-tool` tells more; or mount it as root, see `vmapipe files --help`',
      }),
    })
  }
}

/** A line of guestfish. Every argument is in double quotes, and every byte of it that may mean something is written as a number. */
function lineOf(command: string, args: readonly string[]): string {
  const line = [command, ...args.map(quoted)].join(' ')
  if (line.length <= LONGEST_LINE) return line
  throw new VmapipeError('FAILED', `a path of ${args.join().length} characters is too long for guestfish`)
}

function quoted(text: string): string {
  const escaped = [...bytesOf(text)].map((byte) => {
    const letter = String.fromCharCode(byte)
    return /[\w./:@%+=,-]/.test(letter) ? letter : `\\x${byte.toString(16).padStart(2, '0')}`
  })
  return `"${escaped.join('')}"`
}
