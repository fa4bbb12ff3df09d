/** `vmapipe fleet status`: once, or again and again. */

import { asVmapipeError, printable } from '../../core/errors.ts'
import type { FleetStatus, PeopleSide } from '../../fleet/fleet.ts'
import { print, tell } from '../text.ts'
import { statusLines } from './views.ts'

/** At most so often, in milliseconds. */
const PAUSE_MS = 500

/** Clears the terminal, and goes to its upper left. */
const CLEAR = '\x1b[H\x1b[2J\x1b[3J'

export async function showStatus(
  planner: Pick<PeopleSide, 'status' | 'watch'>,
  { json, watch }: { json?: boolean; watch?: boolean },
  signal: AbortSignal,
): Promise<void> {
  const lines = (status: FleetStatus, space?: number) =>
    json ? [JSON.stringify(status, null, space)] : statusLines(status)
  if (!watch) return print(...lines(await planner.status(), 2))
  // The first one fails if there is no planner. Later the command waits until it is back.
  show(lines(await planner.status()), json)
  await new Promise<void>((resolve) => {
    let isLooking = false
    let isWanted = false
    const look = async () => {
      isWanted = true
      if (isLooking) return
      isLooking = true
      while (isWanted && !signal.aborted) {
        isWanted = false
        const shown = await planner.status().then(lines, (error) => [printable(asVmapipeError(error).text)])
        if (signal.aborted) break
        show(shown, json)
        await new Promise((next) => setTimeout(next, PAUSE_MS))
      }
      isLooking = false
    }
    const stop = planner.watch(() => void look())
    const end = () => {
      stop()
      resolve()
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
  throw signal.reason
}

function show(lines: string[], json = false): void {
  if (!json && process.stdout.isTTY) process.stdout.write(CLEAR)
  tell(...lines, ...(json || process.stdout.isTTY ? [] : ['']))
}
