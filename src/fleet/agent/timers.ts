/** Warns of jobs that a timer of systemd begins too: their guests would be backed up twice a night. */

import { activeUnits } from '../../jobs/units/active.ts'

export class Timers {
  readonly #log: (level: 'warning', text: string) => void
  readonly #told = new Set<string>()

  constructor(log: (level: 'warning', text: string) => void) {
    this.#log = log
  }

  /** One line for each such job, for the planner. The log has it once for each start of the agent. */
  async ofJobs(jobs: readonly string[]): Promise<string[]> {
    const lines = await timerWarnings(jobs)
    for (const line of lines) if (!this.#told.has(line)) this.#log('warning', line)
    for (const line of lines) this.#told.add(line)
    return lines
  }
}

export async function timerWarnings(jobs: readonly string[]): Promise<string[]> {
  const units = await activeUnits(jobs)
  return units.map(
    ({ job, unit, isUser }) =>
      `${job}: ${unit} of systemd is active too, so its guests would be backed up twice: vmapipe job uninstall ${job}${isUser ? ' --user' : ''}`,
  )
}
