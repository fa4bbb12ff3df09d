/**
 * Makes streamx streams of stage bodies. The hooks of streamx take callbacks, and a hook that throws or rejects hangs the
 * stream. The wrappers here call back with the error instead, and name its stage.
 */

import type { Duplex as NodeDuplex } from 'node:stream'
import { Duplex, Readable, type Stream, Transform, Writable } from 'streamx'
import { type DuplexBody, NodeStreamBody } from './duplex-body.ts'
import { asVmapipeError, type VmapipeError } from './errors.ts'
import type { Gauge } from './gauge.ts'
import type { Item } from './items.ts'
import type { SinkBody, SourceBody, StageBody, TransformBody } from './stage.ts'

/** Bytes of items that may wait between two stages (1 MiB). A larger item may wait alone. */
const QUEUE_BYTES = 1 << 20

const queue = {
  highWaterMark: QUEUE_BYTES,
  // streamx treats a queue of no bytes as empty: it would lose an item without bytes, such as a gap.
  byteLength: (item: { byteLength?: number }) => Math.max(1, item?.byteLength ?? 1024),
}

type Callback = (error?: Error | null) => void

/** Gives an error the stage's name. It tells the runner at once, before other stages report errors that follow from this one. */
type Fail = (error: unknown) => VmapipeError

/** `beforeFinal` is waited for when a sink has all items and has made them durable, before it publishes them. */
export function toStream(
  body: Exclude<StageBody, (item: never) => unknown>,
  fail: Fail,
  gauge: Gauge,
  beforeFinal?: () => Promise<void>,
): Stream {
  if (isNodeStream(body)) return fromNodeStream(body, fail, gauge, beforeFinal)
  if ('write' in body && 'read' in body) return toDuplex(body as unknown as DuplexBody, fail, gauge)
  if ('transform' in body) return toTransform(body as TransformBody<unknown, unknown>, fail, gauge)
  if ('write' in body) return toWritable(body as SinkBody<unknown>, fail, gauge, beforeFinal)
  if ('read' in body) return toReadable(body as SourceBody<unknown>, fail, gauge)
  return toReadable(fromIterable(body as AsyncIterable<unknown>), fail, gauge)
}

/** Whether a body is a stream of Node or streamx. */
export function isNodeStream(body: unknown): body is NodeDuplex {
  return typeof body === 'object' && body !== null && 'pipe' in body && typeof body.pipe === 'function'
}

/** A stream of Node or streamx, as a source, a sink, or both. */
function fromNodeStream(stream: NodeDuplex, fail: Fail, gauge: Gauge, beforeFinal?: () => Promise<void>): Stream {
  const body = new NodeStreamBody(stream)
  body.listen(fail)
  if (typeof stream.write !== 'function') return toReadable(body, fail, gauge)
  return typeof stream.read === 'function' ? toDuplex(body, fail, gauge) : toWritable(body, fail, gauge, beforeFinal)
}

/** It works if something was written and something is asked for. Nothing is asked for while the queue behind it is full. */
function toDuplex(body: DuplexBody, fail: Fail, gauge: Gauge): Stream {
  const is = { reading: false, writing: false, working: false }
  const turn = (change: Partial<typeof is>) => {
    Object.assign(is, change)
    gauge.rests(is.reading ? 'input' : 'next')
    const works = is.reading && is.writing
    if (works === is.working) return
    is.working = works
    if (works) gauge.begin()
    else gauge.endLater()
  }
  const next = async (stream: Duplex) => {
    turn({ reading: true })
    const item = await body.read()
    turn({ reading: false })
    if (item === null) gauge.rests('ended')
    else gauge.give(item)
    stream.push(item)
  }
  const write = async (item: Item) => {
    gauge.take(item)
    turn({ writing: true })
    await body.write(item)
    turn({ writing: false })
  }
  body.listen?.(fail)
  turn({})
  return new Duplex({
    ...queue,
    read(this: Duplex, done: Callback) {
      settle(() => next(this), done, fail)
    },
    write(item: Item, done: Callback) {
      settle(() => write(item), done, fail)
    },
    final(done: Callback) {
      turn({ writing: true })
      settle(() => body.final(), done, fail)
    },
    predestroy: () => body.interrupt(),
    destroy: closer(body, fail),
  } as never)
}

function toReadable(body: SourceBody<unknown>, fail: Fail, gauge: Gauge): Stream {
  gauge.rests('next')
  const next = async (stream: Readable) => {
    const item = await body.read()
    if (item === null) gauge.rests('ended')
    else gauge.give(item)
    stream.push(item)
  }
  return new Readable({
    ...queue,
    read(this: Readable, done: Callback) {
      settle(() => next(this), done, fail, gauge)
    },
    predestroy: () => (body as Partial<DuplexBody>).interrupt?.(),
    destroy: closer(body, fail),
  } as never)
}

/** A Transform that tells its gauge what it waits for: an item that has come waits for room in the queue behind it. */
class GaugedTransform extends Transform {
  readonly gauge: Gauge

  constructor(options: object, gauge: Gauge) {
    super(options as never)
    this.gauge = gauge
  }

  override _write(item: unknown, done: (error: Error | null) => void): void {
    const { buffered, highWaterMark } = (this as unknown as { _readableState: Queue })._readableState
    if (buffered >= highWaterMark) this.gauge.rests('next')
    super._write(item, done)
  }
}

interface Queue {
  buffered: number
  highWaterMark: number
}

function toTransform(body: TransformBody<unknown, unknown>, fail: Fail, gauge: Gauge): Stream {
  gauge.rests('input')
  const give = (stream: Transform, item: unknown) => {
    gauge.give(item)
    stream.push(item)
  }
  const options = {
    ...queue,
    transform(this: Transform, item: unknown, done: Callback) {
      gauge.rests('input')
      gauge.take(item)
      settle(() => body.transform(item, (out) => give(this, out)), done, fail, gauge)
    },
    flush(this: Transform, done: Callback) {
      gauge.rests('ended')
      settle(() => body.flush?.((out) => give(this, out)), done, fail, gauge)
    },
    destroy: closer(body, fail),
  }
  return new GaugedTransform(options, gauge)
}

function toWritable(
  body: SinkBody<unknown>,
  fail: Fail,
  gauge: Gauge,
  beforeFinal: (() => Promise<void>) | undefined,
): Stream {
  gauge.rests('input')
  const finish = async () => {
    await body.settle?.()
    await beforeFinal?.()
    await body.final?.()
  }
  return new Writable({
    ...queue,
    write(item: unknown, done: Callback) {
      gauge.take(item)
      settle(() => body.write(item), done, fail, gauge)
    },
    final(done: Callback) {
      gauge.rests('ended')
      settle(finish, done, fail, gauge)
    },
    predestroy: () => (body as Partial<DuplexBody>).interrupt?.(),
    destroy: closer(body, fail),
  } as never)
}

function fromIterable(items: AsyncIterable<unknown>): SourceBody<unknown> {
  const iterator = items[Symbol.asyncIterator]()
  return {
    async read() {
      const { done, value } = await iterator.next()
      return done ? null : value
    },
    async close() {
      await iterator.return?.()
    },
  }
}

/** Runs a hook that may throw, reject, resolve or simply return, and calls back once. */
function settle(hook: () => unknown, done: Callback, fail: Fail, gauge?: Gauge): void {
  gauge?.begin()
  let result: unknown
  try {
    result = hook()
  } catch (error) {
    gauge?.end()
    done(fail(error))
    return
  }
  if (result instanceof Promise) {
    const end = (error: VmapipeError | null) => {
      gauge?.endLater()
      done(error)
    }
    result.then(
      () => end(null),
      (error) => end(fail(error)),
    )
  } else {
    gauge?.end()
    done(null)
  }
}

/** streamx destroys a stream again if one of its hooks ends while it is being destroyed. The body is closed once. */
function closer(body: { close?(error: Error | null): unknown }, fail: Fail) {
  let closed: { result: unknown } | null = null
  return function (this: { _duplexState?: number }, done: Callback) {
    const close = () => {
      if (closed !== null) return closed.result
      closed = { result: undefined }
      closed.result = body.close?.(streamError(this))
      return closed.result
    }
    settle(close, done, fail)
  }
}

/** The error that destroyed the stream. streamx does not pass it to `destroy`, but keeps it in these fields. */
function streamError(stream: unknown): Error | null {
  const { _readableState: r, _writableState: w } = stream as Record<string, { error?: Error | null } | null>
  return r?.error ?? w?.error ?? null
}

/** Wraps any thrown value in an error that names the stage. */
export function blame(stage: string, error: unknown): VmapipeError {
  const wrapped = asVmapipeError(error, { stage })
  wrapped.stage ??= stage
  return wrapped
}
