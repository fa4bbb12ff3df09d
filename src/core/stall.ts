/**
 * Notices that nothing moves any more, and names the stage that is the cause: one that keeps its leases for ever, or a sink whose
 * storage hangs. A pipeline that waits for its source, such as for a person at standard input, has not stalled.
 */

import type { Budget } from './budget.ts'
import type { Gauged, Gauges } from './gauges.ts'
import { formatBytes } from './size.ts'

/** Seconds without a move after which a stall is reported. */
export const STALL_SECONDS = 30

/** A stall is looked for so many times within its time. */
const LOOKS = 6

interface StallWatch {
  gauges: Gauges
  budget: Budget
  /** Seconds without a move after which the stall is reported. */
  seconds: number
  warn: (message: string) => void
}

/** Warns once per stall, until the returned function is called. */
export function watchStalls({ gauges, budget, seconds, warn }: StallWatch): () => void {
  let moves = -1
  let since = 0
  let isTold = false
  const look = () => {
    const now = performance.now()
    const latest = gauges.moves + returnedOf(budget)
    if (latest !== moves) {
      moves = latest
      since = now
      isTold = false
    } else if (!isTold && now - since >= seconds * 1000) {
      const text = stallText(gauges.all, budget, (now - since) / 1000)
      isTold = text !== null
      if (text !== null) warn(text)
    }
  }
  look()
  const timer = setInterval(look, (seconds * 1000) / LOOKS)
  timer.unref()
  return () => clearInterval(timer)
}

/** Names the cause if anybody waits for memory or for the next stage; otherwise null. */
function stallText(stages: readonly Gauged[], budget: Budget, seconds: number): string | null {
  const phases = stages.map((stage) => ({ stage, phase: stage.gauge.phase }))
  const isHeldUp = waitingOf(budget) > 0 || phases.some(({ phase }) => phase === 'next' || phase === 'memory')
  // A stage that delays items on purpose is not the cause of a stall.
  const isPaced = phases.some(({ stage, phase }) => stage.role === 'limit' && phase === 'work')
  if (!isHeldUp || isPaced) return null
  const after = `for ${Math.round(seconds)} seconds`
  // What is behind a stage that works waits for its items, and what is before it waits for its room: so the last one is the cause.
  const working = phases.findLast(({ stage, phase }) => phase === 'work' && stage.role !== 'source')
  if (working !== undefined) {
    const { gauge, medium, role } = working.stage
    const before = stages.slice(0, stages.indexOf(working.stage)).reduce((sum, stage) => sum + stage.gauge.held, 0)
    const name = medium === undefined ? gauge.name : `${gauge.name} (${medium})`
    // Of several branches it is not known what waits before which one.
    const isKnown = !stages.some((stage) => stage.role === 'split')
    const waits = isKnown && before > 0 ? `; ${formatBytes(before)} wait before it` : ''
    return `stage ${name} holds ${formatBytes(gauge.held)} and ${role === 'target' || role === 'split' ? 'takes' : 'gives'} nothing ${after}${waits}`
  }
  const holders = phases.filter(({ stage, phase }) => phase !== 'next' && stage.gauge.held > 0)
  if (holders.length === 0 || waitingOf(budget) === 0) return null
  const { gauge, role } = holders.reduce((most, one) =>
    one.stage.gauge.held > most.stage.gauge.held ? one : most,
  ).stage
  const does = role === 'source' ? 'gives' : 'takes'
  return `stage ${gauge.name} holds ${formatBytes(gauge.held)} and ${does} nothing ${after}: the others wait for that memory`
}

function waitingOf(budget: Budget): number {
  return budget.parts.reduce((sum, part) => sum + waitingOf(part), budget.waiting)
}

function returnedOf(budget: Budget): number {
  return budget.parts.reduce((sum, part) => sum + returnedOf(part), budget.returned)
}
