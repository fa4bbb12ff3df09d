/**
 * Makes streamx streams of stage bodies. The hooks of streamx take callbacks, and a hook that throws or rejects hangs the
 * stream. The wrappers here call back with the error instead, and name its stage.
 */

import { Readable, type Stream, Transform, Writable } from 'streamx'
import { asVmapipeError, type VmapipeError } from './errors.ts'
import type { Gauge } from './gauge.ts'
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
export type Fail = (error: unknown) => VmapipeError

/** `beforeFinal` is waited for when a sink has all items and has made them durable, before it publishes them. */
export function toStream(
  body: Exclude<StageBody, (item: never) => unknown>,
  fail: Fail,
  gauge: Gauge,
  beforeFinal?: () => Promise<void>,
): Stream {
  if ('pipe' in body && typeof body.pipe === 'function') return body as unknown as Stream
  if ('transform' in body) return toTransform(body as TransformBody<unknown, unknown>, fail, gauge)
  if ('write' in body) return toWritable(body as SinkBody<unknown>, fail, gauge, beforeFinal)
  if ('read' in body) return toReadable(body as SourceBody<unknown>, fail, gauge)
  return toReadable(fromIterable(body as AsyncIterable<unknown>), fail, gauge)
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
    predestroy: () => {},
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

function closer(body: { close?(error: Error | null): unknown }, fail: Fail) {
  return function (this: { _duplexState?: number }, done: Callback) {
    settle(() => body.close?.(streamError(this)), done, fail)
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
