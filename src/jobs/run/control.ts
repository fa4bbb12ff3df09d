/**
 * The socket of a run, by which other commands ask how it is doing, change its rate, or end it. A question and its answer are a line of
 * JSON each. The folder of the socket is this user's alone.
 */

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import * as z from 'zod'
import { VmapipeError } from '../../core/errors.ts'
import type { RunStatus } from './events.ts'

const question = z.discriminatedUnion('ask', [
  z.strictObject({ ask: z.literal('status') }),
  z.strictObject({ ask: z.literal('cancel'), guest: z.string().optional() }),
  z.strictObject({ ask: z.literal('rate'), rate: z.number().positive().nullable() }),
])
type Question = z.infer<typeof question>

/** A run, as far as others may control it. */
interface Controlled {
  readonly status: RunStatus
  rate: number | null
  /** Of one guest, or of the whole run. */
  cancel(reason: string, guest?: string): void
}

/** The longest question in characters. */
const MOST_TEXT = 4096
/** The longest answer: the status of ten thousand guests. */
const MOST_ANSWER = 16 << 20
/** Milliseconds that a run may take to answer. */
const ANSWER_MS = 10_000

const SOCKET = /^job-.*\.sock$/

/** The name of a job may be longer than the path of a socket. */
function socketOf(runtime: string, job: string): string {
  return join(runtime, `job-${createHash('sha256').update(job).digest('hex').slice(0, 16)}.sock`)
}

/** Answers questions until it is closed. The caller has the lock of the job, so a socket that is there is left from a run that was killed. */
export async function serveControl(runtime: string, run: Controlled): Promise<{ close(): Promise<void> }> {
  const path = socketOf(runtime, run.status.job)
  await rm(path, { force: true })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('close', () => sockets.delete(socket)).on('error', () => {}))
    void answer(socket, run)
  })
  server.listen(path)
  await once(server, 'listening')
  return { close: () => close(server, sockets) }
}

async function close(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  // Those who wait for the end of the run see it by the end of the connection.
  for (const socket of sockets) socket.destroy()
  server.close()
  await once(server, 'close')
}

async function answer(socket: Socket, run: Controlled): Promise<void> {
  const asked = question.safeParse(await lineOf(socket, MOST_TEXT))
  if (!asked.success) return void socket.destroy()
  const { data } = asked
  if (data.ask === 'rate') run.rate = data.rate
  if (data.ask === 'cancel') run.cancel('canceled', data.guest)
  socket.write(`${JSON.stringify(run.status)}\n`)
}

/** The first line, as JSON; null if there is none. */
function lineOf(socket: Socket, most: number): Promise<unknown> {
  return new Promise((resolve) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('data', (piece: string) => {
      text += piece
      const at = text.indexOf('\n')
      if (at === -1 && text.length <= most) return
      try {
        resolve(at === -1 ? null : JSON.parse(text.slice(0, at)))
      } catch {
        resolve(null)
      }
    })
    socket.once('close', () => resolve(null))
  })
}

/** A run that goes on, and the socket by which it is asked. */
export interface RunNow {
  socket: string
  status: RunStatus
}

/** All runs of this host, by job and time. One that does not answer is left out. */
export async function runsNow(runtime: string): Promise<RunNow[]> {
  const names = (await readdir(runtime).catch(() => [])).filter((name) => SOCKET.test(name))
  const asked = names.map(async (name) => {
    const socket = join(runtime, name)
    const status = await askAt(socket, name, { ask: 'status' }).catch(() => null)
    return status === null ? [] : [{ socket, status }]
  })
  const key = ({ status: { job, run } }: RunNow) => `${job}\0${run}`
  return (await Promise.all(asked)).flat().sort((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** Asks a run; null if the job does not run. `untilEnd`: waits until the run has ended. Errors: FAILED. */
export async function askRun(
  runtime: string,
  job: string,
  asked: Question,
  { untilEnd = false } = {},
): Promise<RunStatus | null> {
  return askAt(socketOf(runtime, job), job, asked, { untilEnd })
}

/** The same by the socket of the run. `name` is for messages. */
export async function askAt(
  path: string,
  name: string,
  asked: Question,
  { untilEnd = false } = {},
): Promise<RunStatus | null> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return null
    throw new VmapipeError('FAILED', `the run of '${name}' cannot be asked: ${(error as Error).message}`, {
      cause: error,
    })
  }
  // A run that ends just then breaks the connection: that is no answer, and an end. `once` would reject for nobody.
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  socket.write(`${JSON.stringify(asked)}\n`)
  const timer = setTimeout(() => socket.destroy(), ANSWER_MS)
  const status = (await lineOf(socket, MOST_ANSWER)) as RunStatus | null
  clearTimeout(timer)
  if (status === null) throw new VmapipeError('FAILED', `the run of '${name}' has not answered`)
  if (untilEnd) await closed
  else socket.destroy()
  return status
}
