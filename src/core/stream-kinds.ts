/** Streams that a user may give for an archive to read or to write: of Node or of the web. */

import { Readable, Writable } from 'node:stream'
import type { ReadableStream, WritableStream } from 'node:stream/web'
import { asVmapipeError, VmapipeError } from './errors.ts'

/** A stream of bytes to read. */
export type ReadableLike = Readable | ReadableStream
/** A stream to write bytes to. */
export type WritableLike = Writable | WritableStream

export function isReadableLike(value: unknown): value is ReadableLike {
  return value instanceof Readable || isWebReadable(value)
}

/** Also true for the response of an HTTP server, which is no `Writable` but as good as one. */
export function isWritableLike(value: unknown): value is WritableLike {
  return isNodeWritable(value) || isWebWritable(value)
}

/** The stream as one of Node. */
export function nodeReadable(stream: ReadableLike): Readable {
  return isWebReadable(stream) ? Readable.fromWeb(stream) : stream
}

/** The stream as one of Node. */
export function nodeWritable(stream: WritableLike): Writable {
  return isWebWritable(stream) ? fromWeb(stream) : stream
}

/** Unlike Node's `fromWeb`, it aborts the web stream when it is destroyed early: a close would tell that everything was written. */
function fromWeb(stream: WritableStream): Writable {
  const writer = stream.getWriter()
  const writable = new Writable({
    write: (bytes, _, done) => void writer.write(bytes).then(() => done(), done),
    final: (done) => void writer.close().then(() => done(), done),
    destroy(error, done) {
      const end = () => done(error)
      if (this.writableFinished) end()
      else writer.abort(error ?? new VmapipeError('ABORTED', 'aborted')).then(end, end)
    },
  })
  writer.closed.catch((error) => writable.destroy(asVmapipeError(error)))
  return writable
}

function isNodeWritable(value: unknown): value is Writable {
  const { write, end } = (value ?? {}) as Partial<Writable>
  return typeof write === 'function' && typeof end === 'function'
}

function isWebReadable(value: unknown): value is ReadableStream {
  return typeof (value as Partial<ReadableStream> | null)?.getReader === 'function'
}

function isWebWritable(value: unknown): value is WritableStream {
  return typeof (value as Partial<WritableStream> | null)?.getWriter === 'function'
}
