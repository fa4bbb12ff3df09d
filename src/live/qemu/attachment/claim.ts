/**
 * A claim on a QEMU: one vmapipe at a time puts something in or takes something out. The claim is a note in QEMU with the path of
 * a socket that takes connections as long as its process lives. QEMU takes a note of one name once: if two runs begin at the same
 * moment, one is refused before it has touched anything.
 */

import { connect } from 'node:net'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'
import { PREFIX } from './names.ts'
import { addNote, type Note, notesIn, removeNote } from './notes.ts'

const NAME = `${PREFIX}run`

export class Claim {
  readonly id: string
  #released = false

  private constructor(id: string) {
    this.id = id
  }

  /** `life`: a socket of ours; empty if there is none, and then no other run respects this claim. FAILED while another run has one. */
  static async take(qmp: QmpClient, life: string): Promise<Claim> {
    const before = await claimsIn(qmp)
    await refuseWhereAlive(before.map(({ text }) => text))
    // Never a name that was there: two runs that find the same dead claim then compete for one new name.
    const id = `${NAME}${1 + Math.max(0, ...before.map(numberOf))}`
    try {
      await addNote(qmp, { id, text: life })
    } catch (error) {
      if (qmpErrorClass(error) === undefined) throw error
      throw (await claimsIn(qmp)).some((note) => note.id === id) ? taken(error) : error
    }
    const claim = new Claim(id)
    const known = [id, ...before.map((note) => note.id)]
    if ((await claimsIn(qmp)).every((note) => known.includes(note.id))) return claim
    await claim.release(qmp)
    throw taken()
  }

  get isReleased(): boolean {
    return this.#released
  }

  /** May be called more than once. */
  async release(qmp: QmpClient): Promise<void> {
    if (this.#released) return
    await removeNote(qmp, this.id)
    this.#released = true
  }
}

export function isClaim(id: string): boolean {
  return id.startsWith(NAME)
}

async function claimsIn(qmp: QmpClient): Promise<Note[]> {
  return (await notesIn(qmp)).filter(({ id }) => isClaim(id))
}

function numberOf({ id }: Note): number {
  return Number(id.slice(NAME.length)) || 0
}

/** FAILED if a process answers at the other end, or if it is unknown whether one lives. */
export async function refuseWhereAlive(sockets: readonly string[]): Promise<void> {
  for (const path of new Set(sockets)) {
    const error = await connectTo(path)
    if (error === null) throw taken()
    if (isDead(error)) continue
    const { message } = asVmapipeError(error)
    throw new VmapipeError('FAILED', `another vmapipe may be backing up this guest: ${message}`, {
      file: path,
      hint: 'run this as root, or as the user of that backup',
      cause: error,
    })
  }
}

/** Whether no process listens there. Any other error, such as that of another user's socket, is no proof. */
function isDead({ code }: NodeJS.ErrnoException): boolean {
  return code === 'ECONNREFUSED' || code === 'ENOENT'
}

function connectTo(path: string): Promise<NodeJS.ErrnoException | null> {
  // Node takes an empty path for a TCP port that was left out.
  if (path === '') return Promise.resolve(Object.assign(new Error('no socket'), { code: 'ENOENT' }))
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(null)
    })
    socket.once('error', resolve)
  })
}

function taken(cause?: unknown): VmapipeError {
  return new VmapipeError('FAILED', 'another vmapipe is backing up this guest', {
    hint: 'wait for it, or end it with SIGTERM',
    cause,
  })
}
