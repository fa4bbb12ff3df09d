/** Central jobs: job files that are kept here, and given to the hosts that have one of their labels. */

import { createHash } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { checkCentralJob } from '../central/rules.ts'
import type { CentralJobRow } from '../fleet.ts'
import type { CentralJob, InventoryReply } from '../messages/inventory.ts'
import { readCentralJobs, removeCentralJob, type StoredCentralJob, writeCentralJob } from '../store/central-jobs.ts'
import type { Parts } from './parts.ts'
import type { HostState } from './state.ts'

export class CentralJobs {
  readonly #parts: Parts
  #jobs = new Map<string, StoredCentralJob>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async load(): Promise<void> {
    this.#jobs = new Map((await readCentralJobs(this.#parts.database)).map((job) => [job.name, job]))
  }

  async put(name: string, text: string): Promise<void> {
    const { hosts } = checkCentralJob(name, text)
    const job = { name, text, digest: createHash('sha256').update(text).digest('hex'), labels: hosts }
    await this.#parts.turn.transaction((session) => writeCentralJob(session, job))
    const before = this.#jobs.get(name)
    this.#jobs.set(name, job)
    this.#changed([job, before])
  }

  async remove(name: string): Promise<void> {
    const job = this.#jobs.get(name)
    if (job === undefined) throw new VmapipeError('USAGE', `there is no central job '${name}'`)
    await this.#parts.turn.transaction((session) => removeCentralJob(session, name))
    this.#jobs.delete(name)
    this.#changed([job])
  }

  rows(): CentralJobRow[] {
    return [...this.#jobs.values()].map((job) => {
      const hosts = this.#hostsOf(job)
      return {
        name: job.name,
        text: job.text,
        labels: job.labels,
        hosts: hosts.map(({ name }) => name),
        problem: this.#problemOf(job, hosts),
      }
    })
  }

  of(host: HostState): InventoryReply['central'] {
    return [...this.#jobs.values()].filter((job) => isFor(job, host)).map(({ name, digest }) => ({ name, digest }))
  }

  /** Only a host that it is for gets to see it. */
  one(host: HostState, name: string): CentralJob | null {
    const job = this.#jobs.get(name)
    if (job === undefined || !isFor(job, host)) return null
    return { name, digest: job.digest, text: job.text }
  }

  #hostsOf(job: StoredCentralJob): HostState[] {
    return [...this.#parts.state.hosts.values()].filter((host) => isFor(job, host))
  }

  #problemOf(job: StoredCentralJob, hosts: HostState[]): string | null {
    // Rules may have become stricter since it was written.
    try {
      checkCentralJob(job.name, job.text)
    } catch (error) {
      return asVmapipeError(error).line
    }
    if (hosts.length === 0) return `no host has the label ${job.labels.join(' or ')}`
    for (const host of hosts) {
      const problem = host.jobs.get(job.name)?.problem
      if (problem) return `${host.name}: ${problem}`
    }
    return null
  }

  #changed(jobs: (StoredCentralJob | undefined)[]): void {
    for (const job of jobs) if (job !== undefined) for (const host of this.#hostsOf(job)) host.jobsChanged = true
    this.#parts.changes.tell('jobs')
  }
}

function isFor(job: StoredCentralJob, host: HostState): boolean {
  return job.labels.some((label) => host.stored.labels.includes(label))
}
