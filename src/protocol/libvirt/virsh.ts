/** Commands of virsh that are run one by one. Their words are arguments of a process: no shell and no line editor reads them. */

import { execFile } from 'node:child_process'
import { VmapipeError } from '../../core/errors.ts'
import { environment, notInstalled, virshError } from '../qmp/virsh-shell.ts'

/** Milliseconds that a command may take. Starting a guest is the longest. */
const COMMAND_MS = 120_000
/** Bytes of an answer. The longest is the XML of a domain. */
const MAX_ANSWER = 8 << 20

/** A domain as libvirt lists it. */
export interface DomainEntry {
  uuid: string
  name: string
}

export class Virsh {
  readonly #uri: string | undefined
  readonly #signal: AbortSignal | undefined

  /** `uri`: that of libvirt; virsh chooses by default. */
  constructor(uri?: string, signal?: AbortSignal) {
    this.#uri = uri
    this.#signal = signal
  }

  /** The same virsh for what must also be done after an abort. */
  get untilTheEnd(): Virsh {
    return new Virsh(this.#uri)
  }

  /** Runs a command and returns its output. Throws FAILED with virsh's error. A word after an equals sign may begin with a dash. */
  run(...words: string[]): Promise<string> {
    const nul = words.find((word) => word.includes('\0'))
    if (nul !== undefined)
      return Promise.reject(new VmapipeError('USAGE', 'libvirt knows no names with a NUL character'))
    const options = {
      env: environment(this.#uri),
      maxBuffer: MAX_ANSWER,
      timeout: COMMAND_MS,
      killSignal: 'SIGKILL',
      ...(this.#signal && { signal: this.#signal }),
    } as const
    return new Promise((resolve, reject) => {
      const child = execFile('virsh', ['-q', ...words], options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(this.#failure(error, words[0], stderr))
      })
      child.stdin?.end()
    })
  }

  /** The domains; only those that run if `active`. */
  async domains({ active = false } = {}): Promise<DomainEntry[]> {
    const listed = await this.run('list', '--name', '--uuid', ...(active ? [] : ['--all']))
    return listed.split('\n').flatMap((line) => {
      const [, uuid, name] = /^\s*([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s+(.*?)\s*$/.exec(line) ?? []
      return uuid === undefined ? [] : [{ uuid, name }]
    })
  }

  /** Whether a domain of this uuid runs, or is paused. */
  async isActive(uuid: string): Promise<boolean> {
    return (await this.domains({ active: true })).some((domain) => domain.uuid === uuid)
  }

  #failure(error: Error & { code?: unknown; killed?: boolean }, command: string, stderr: string): VmapipeError {
    if (this.#signal?.aborted) return new VmapipeError('ABORTED', 'aborted')
    if (error.code === 'ENOENT') return notInstalled(error)
    if (error.killed) return new VmapipeError('FAILED', `virsh ${command} did not end within ${COMMAND_MS / 1000} s`)
    return virshError(stderr) ?? new VmapipeError('FAILED', `virsh ${command} failed: ${stderr.trim().slice(0, 200)}`)
  }
}
