/** Shows a run of a job: a line for each guest that is backed up on a terminal, redrawn; otherwise lines for a log, or JSON. */

import { createRequire } from 'node:module'
import type cliProgress from 'cli-progress'
import { formatBytes, formatRate } from '../core/size.ts'
import type { GuestProgress, RunEvent } from '../jobs/run/events.ts'
import type { CommonFlags } from './flags.ts'
import type { Level } from './progress/display.ts'
import { makeDisplay } from './progress/make-display.ts'
import { formatDuration, noteLine } from './text.ts'

interface JobLog {
  event(event: RunEvent): void
  close(): void
}

const ENDED = ['done', 'failed', 'skipped', 'canceled']

export function makeJobLog(flags: CommonFlags): JobLog {
  const stream = process.stderr
  const isBar = (flags.progress === 'auto' || flags.progress === 'bar') && stream.isTTY && !flags.quiet
  const bars = isBar ? new GuestBars(stream) : null
  const display = makeDisplay('job', { ...flags, progress: isBar ? 'none' : flags.progress })
  const say = (level: Level, text: string, fields?: object) => {
    if (bars !== null) bars.log(noteLine(level, text))
    else display.note(level, text, fields)
  }
  const phases = new Map<string, string>()
  return {
    event(event) {
      if (event.type === 'note') {
        const about = event.guest === undefined ? '' : `${event.guest}: `
        // On a terminal the lines of the guests say the rest.
        if (bars !== null && event.level === 'info') return
        say(event.level, `${about}${event.text}`, event.guest === undefined ? {} : { guest: event.guest })
      } else if (event.type === 'begin') {
        say('info', `${event.guests.length} guests: ${event.guests.join(', ')}`, {
          run: event.run,
          guests: event.guests,
        })
      } else if (event.type === 'guest') {
        const { progress } = event
        bars?.show(progress)
        if (phases.get(progress.guest) === progress.phase) return
        phases.set(progress.guest, progress.phase)
        const line = phaseLine(progress)
        if (line === null || (bars !== null && !ENDED.includes(progress.phase))) return
        say(progress.phase === 'failed' ? 'warning' : 'info', line, {
          ...progress,
          snapshot: undefined,
          stats: undefined,
          latency: undefined,
        })
      }
    },
    close() {
      bars?.close()
      display.close()
    },
  }
}

/** A line for a log when the guest begins something else; null if another line says it. */
function phaseLine({ guest, phase, reason, attempts }: GuestProgress): string | null {
  if (phase === 'waiting' || phase === 'retry' || phase === 'preparing') return null
  const words: Partial<Record<typeof phase, string>> = {
    backup: 'is backed up',
    verify: 'is read back',
    copy: 'is copied',
  }
  const again = phase === 'backup' && attempts > 1 ? `, attempt ${attempts}` : ''
  return `${guest}: ${words[phase] ?? phase}${again}${reason !== null && ENDED.includes(phase) ? `: ${reason}` : ''}`
}

/** One line of a guest, for a terminal. */
export function guestLine({ guest, phase, snapshot, reason }: GuestProgress): string {
  const name = guest.padEnd(16)
  if (snapshot === null) return `${name} ${phase}${reason === null ? '' : `: ${reason}`}`
  const { percent, read, readRate, eta } = snapshot
  const left = eta === null ? '' : `, ${formatDuration(eta)} left`
  const how = percent === null ? formatBytes(read) : `${Math.floor(percent)}%`
  return `${name} ${phase} ${how.padStart(4)}, ${formatRate(readRate)}${left}`
}

/** Lines of the guests that are backed up, below the log. */
class GuestBars {
  readonly #bars: cliProgress.MultiBar
  readonly #free: cliProgress.SingleBar[] = []
  readonly #byGuest = new Map<string, cliProgress.SingleBar>()
  readonly #stream: NodeJS.WriteStream

  constructor(stream: NodeJS.WriteStream) {
    const { MultiBar } = createRequire(import.meta.url)('cli-progress') as typeof cliProgress
    this.#stream = stream
    this.#bars = new MultiBar({
      stream,
      hideCursor: true,
      clearOnComplete: true,
      emptyOnZero: true,
      format: (_o, _p, { line }) => line,
    })
  }

  show(progress: GuestProgress): void {
    const { guest, phase } = progress
    const isOver = ENDED.includes(phase) || phase === 'waiting' || phase === 'retry'
    const bar = this.#byGuest.get(guest)
    if (isOver) {
      if (bar === undefined) return
      bar.update(0, { line: '' })
      this.#byGuest.delete(guest)
      this.#free.push(bar)
      return
    }
    const line = noControls(guestLine(progress)).slice(0, (this.#stream.columns || 80) - 1)
    const shown = bar ?? this.#free.pop() ?? this.#bars.create(100, 0, { line })
    this.#byGuest.set(guest, shown)
    shown.update(0, { line })
  }

  log(line: string): void {
    this.#bars.log(`${line}\n`)
    this.#bars.update()
  }

  close(): void {
    this.#bars.stop()
  }
}

function noControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
