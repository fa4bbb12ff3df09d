/**
 * Makes streamx streams of stage bodies. The hooks of streamx take callbacks, and a hook that throws or rejects hangs the
 * stream. The wrappers here call back with the error instead, and name its stage.
 */

import { Readable, type Stream, Transform, Writable } from 'streamx'
import { asVmapipeError, type VmapipeError } from './errors.ts'
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

export function toStream(body: Exclude<StageBody, (item: never) => unknown>, fail: Fail): Stream {
  if ('pipe' in body && typeof body.pipe === 'function') return body as unknown as Stream
  if ('transform' in body) return toTransform(body as TransformBody<unknown, unknown>, fail)
  if ('write' in body) return toWritable(body as SinkBody<unknown>, fail)
  if ('read' in body) return toReadable(body as SourceBody<unknown>, fail)
  return toReadable(fromIterable(body as AsyncIterable<unknown>), fail)
}

function toReadable(body: SourceBody<unknown>, fail: Fail): Stream {
  return new Readable({
    ...queue,
    read(this: Readable, done: Callback) {
      settle(async () => this.push(await body.read()), done, fail)
    },
    predestroy: () => {},
    destroy: closer(body, fail),
  } as never)
}

function toTransform(body: TransformBody<unknown, unknown>, fail: Fail): Stream {
  return new Transform({
    ...queue,
    transform(this: Transform, item: unknown, done: Callback) {
      settle(() => body.transform(item, (out) => this.push(out)), done, fail)
    },
    flush(this: Transform, done: Callback) {
      settle(() => body.flush?.((out) => this.push(out)), done, fail)
    },
    destroy: closer(body, fail),
  } as never)
}

function toWritable(body: SinkBody<unknown>, fail: Fail): Stream {
  return new Writable({
    ...queue,
    write(item: unknown, done: Callback) {
      settle(() => body.write(item), done, fail)
    },
    final(done: Callback) {
      settle(() => body.final?.(), done, fail)
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
function settle(hook: () => unknown, done: Callback, fail: Fail): void {
  let result: unknown
  try {
    result = hook()
  } catch (error) {
    done(fail(error))
    return
  }
  if (result instanceof Promise) {
    result.then(
      () => done(null),
      (error) => done(fail(error)),
    )
  } else {
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
