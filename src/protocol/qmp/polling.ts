/**
 * Events where none come: somebody who waits for one makes us ask, again and again, for the state that it tells of.
 * Only events whose state can be asked for are known here.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import { type Json, objectsOf, textOf } from '../json.ts'
import type { Wait } from './events.ts'

type Ask = (command: string) => Promise<unknown>

/** A state that can be asked for, by name of what it is about. */
interface Question {
  command: string
  /** The states by the ids of what has them. */
  states(answer: any): [id: string, state: Json][]
}

interface Polled extends Question {
  /** The event's data, where `before` having become `after` (undefined: it is gone) is the event. */
  told(id: string, before: Json, after: Json | undefined): Json | null
}

const EXPORTS: Question = {
  command: 'query-block-exports',
  states: (answer) => objectsOf(answer).map((block) => [textOf(block.id) ?? '', block]),
}

const JOBS: Question = {
  command: 'query-jobs',
  states: (answer) => objectsOf(answer).map((job) => [textOf(job.id) ?? '', job]),
}

const STATUS: Question = {
  command: 'query-status',
  states: (answer) => [['', { running: answer?.running === true }]],
}

/** A job that is dismissed by itself takes its result with it. */
const UNSEEN = 'the job ended unseen: nobody knows how'

const POLLED: Record<string, Polled> = {
  BLOCK_EXPORT_DELETED: { ...EXPORTS, told: (id, _before, after) => (after === undefined ? { id } : null) },
  STOP: { ...STATUS, told: (_id, before, after) => (before.running && !after?.running ? {} : null) },
  RESUME: { ...STATUS, told: (_id, before, after) => (!before.running && after?.running ? {} : null) },
  JOB_STATUS_CHANGE: {
    ...JOBS,
    told: (id, before, after) => (before.status === after?.status ? null : { id, status: after?.status ?? 'null' }),
  },
  BLOCK_JOB_COMPLETED: {
    ...JOBS,
    told: (device, before, after) => {
      if (after === undefined) return before.status === 'concluded' ? null : { device, error: UNSEEN }
      return after.status !== 'concluded' || before.status === 'concluded'
        ? null
        : { device, type: after.type, ...(after.error !== undefined && { error: after.error }) }
    },
  },
}

/** Milliseconds between two looks. */
const INTERVAL = 100

/**
 * Looks until the wait is over. Its first look is asked for before this returns: the caller then asks for what causes
 * the event, and commands go in order. A job that begins and vanishes between two looks is not seen: give it
 * auto-dismiss=false.
 */
export async function pollFor(wait: Wait, ask: Ask): Promise<void> {
  try {
    const polled = Object.hasOwn(POLLED, wait.event) ? POLLED[wait.event] : undefined
    if (polled === undefined) throw new VmapipeError('FAILED', `${wait.event} cannot be seen by way of libvirt`)
    let before = new Map(polled.states(await ask(polled.command)))
    while (!wait.isOver) {
      await sleep(INTERVAL)
      const after = new Map(polled.states(await ask(polled.command)))
      // This look came after what was sent since the first one.
      wait.startClock()
      for (const id of new Set([...before.keys(), ...after.keys()])) {
        const data = polled.told(id, before.get(id) ?? {}, after.get(id))
        if (data !== null) wait.offer({ event: wait.event, data, seconds: Date.now() / 1000 })
      }
      before = after
    }
  } catch (error) {
    wait.fail(error)
  }
}
