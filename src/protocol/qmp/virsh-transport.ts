/**
 * QMP by way of libvirt, whose monitor is libvirt's alone: each command is one run of `virsh qemu-monitor-command`,
 * one after the other, so that they arrive in order. Events do not come this way.
 */

import { type ExecFileException, execFile } from 'node:child_process'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_LINE } from './lines.ts'
import { parseMessage, violation } from './message.ts'
import type { QmpCommand, QmpTransport, TransportListener } from './transport.ts'

/** A virsh that hangs is killed; what it asked for may still be done. */
const RUN_MS = 60_000

export class VirshTransport implements QmpTransport {
  readonly name: string
  readonly hasEvents = false
  readonly #domain: string
  readonly #listener: TransportListener
  readonly #stop = new AbortController()
  #last: Promise<void> = Promise.resolve()

  constructor(domain: string, listener: TransportListener) {
    this.name = `libvirt domain ${domain}`
    this.#domain = domain
    this.#listener = listener
  }

  send(id: number, command: QmpCommand): void {
    this.#last = this.#last.then(() => this.#run(id, command))
  }

  close(): void {
    this.#stop.abort()
  }

  async #run(id: number, command: QmpCommand): Promise<void> {
    const { signal } = this.#stop
    if (signal.aborted) return
    try {
      const answer = parseMessage(await virsh(this.#domain, JSON.stringify(command), signal))
      if (answer.kind !== 'return' && answer.kind !== 'error') throw violation(`an ${answer.kind} as an answer`)
      // libvirt numbers commands by itself.
      if (!signal.aborted) this.#listener.message({ ...answer, id })
    } catch (error) {
      if (signal.aborted) return
      // A libvirtd that is being restarted is there again for the next command.
      if (!isGone(error)) {
        this.#listener.failed(id, error)
        return
      }
      this.close()
      this.#listener.ended(error)
    }
  }
}

function virsh(domain: string, command: string, signal: AbortSignal): Promise<string> {
  // With an equals sign a domain that begins with a dash is no option.
  const args = ['qemu-monitor-command', `--domain=${domain}`, `--cmd=${command}`]
  const env = { ...process.env, LC_ALL: 'C' }
  return new Promise((resolve, reject) => {
    const options = { env, signal, timeout: RUN_MS, maxBuffer: MAX_LINE, killSignal: 'SIGKILL' } as const
    const child = execFile('virsh', args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim())
      else reject(explained(error, stderr))
    })
    child.stdin?.end()
  })
}

function explained(cause: ExecFileException, stderr: string): VmapipeError {
  if (cause.code === 'ENOENT') {
    const hint = 'install libvirt-clients, or use --qmp SOCKET'
    return new VmapipeError('FAILED', 'virsh is not installed', { cause, hint })
  }
  const message = cause.killed
    ? `virsh did not end within ${RUN_MS / 1000} s`
    : (said(stderr) ?? `virsh failed: ${cause.message.split('\n')[0]}`)
  return new VmapipeError('FAILED', message, { cause })
}

/** libvirt's words for a guest that has ended. */
function isGone(error: unknown): boolean {
  return /domain is not running|failed to get domain/.test(String((error as Error).message))
}

/** virsh's own first line: "error: failed to get domain 'x'". */
function said(stderr: string): string | undefined {
  const line = stderr.split('\n').find((text) => text.startsWith('error: '))
  return line?.replace('error: ', 'virsh: ').slice(0, 200)
}
