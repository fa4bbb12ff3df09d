/** A network of the test's own: a namespace for the planner, with a bridge in it, and one for each host, which is connected to the bridge. */

import { execFileSync } from 'node:child_process'
import { which } from '../../support/tools.ts'

/** Of the networks for tests of devices (RFC 2544). They are reached in these namespaces alone. */
const PLANNER = '198.18.0.254'

export class Network {
  readonly #prefix = `vmapipe-${process.pid}`
  readonly #names: string[] = []
  readonly address = PLANNER

  /** Throws if the kernel has no network namespaces, or this user may not make them. */
  constructor(hosts: number) {
    try {
      this.#make('planner')
      const hub = this.#name('planner')
      ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge')
      ip('-n', hub, 'addr', 'add', `${PLANNER}/24`, 'dev', 'bridge')
      ip('-n', hub, 'link', 'set', 'bridge', 'up')
      for (let number = 1; number <= hosts; number++) {
        const host = this.#make(`h${number}`)
        const port = `port${number}`
        ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host)
        ip('-n', hub, 'link', 'set', port, 'master', 'bridge', 'up')
        ip('-n', host, 'addr', 'add', `198.18.0.${number}/24`, 'dev', 'eth0')
        ip('-n', host, 'link', 'set', 'eth0', 'up')
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** The words before a command that is run in a namespace. The process is the command itself. */
  inside(name: string): string[] {
    return ['nsenter', `--net=/run/netns/${this.#name(name)}`]
  }

  /** From now on nothing that the host sends arrives, and nothing comes to it: neither side is told. */
  cut(host: string): void {
    ip('-n', this.#name('planner'), 'link', 'set', `port${host.slice(1)}`, 'nomaster')
  }

  mend(host: string): void {
    ip('-n', this.#name('planner'), 'link', 'set', `port${host.slice(1)}`, 'master', 'bridge')
  }

  close(): void {
    for (const name of this.#names.splice(0)) ip('netns', 'delete', name)
  }

  #name(name: string): string {
    return `${this.#prefix}-${name}`
  }

  #make(short: string): string {
    const name = this.#name(short)
    ip('netns', 'add', name)
    this.#names.push(name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
    return name
  }
}

function ip(...words: string[]): void {
  const program = which('ip')
  if (program === undefined) throw new Error('ip (of iproute2) is missing')
  execFileSync(program, words, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000 })
}
