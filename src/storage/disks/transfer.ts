/** Reads or writes whole buffers in libuv's pool. The callbacks of node:fs take half the time of a FileHandle's promises. */

/** `read` or `write` of node:fs. */
export type Transfer = (
  fd: number,
  buffer: Uint8Array,
  from: number,
  length: number,
  position: number,
  done: (error: NodeJS.ErrnoException | null, count: number) => void,
) => void

/** The error that stopped a transfer, and the position in the file. */
export class TransferError extends Error {
  readonly position: number

  constructor(position: number, cause: unknown) {
    super('a transfer stopped', { cause })
    this.position = position
  }
}

/** Transfers the buffer except for its first `done` bytes. The first byte of the buffer belongs at `offset` of the file. */
export function transferRest(
  call: Transfer,
  fd: number,
  buffer: Uint8Array,
  done: number,
  offset: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let filled = done
    const next = () => call(fd, buffer, filled, buffer.byteLength - filled, offset + filled, ended)
    const ended = (error: NodeJS.ErrnoException | null, count: number) => {
      if (error) {
        reject(new TransferError(offset + filled, error))
        return
      }
      filled += count
      if (filled === buffer.byteLength) resolve()
      else if (count > 0) next()
      else reject(new TransferError(offset + filled, new Error('the file ends here, it has shrunk')))
    }
    next()
  })
}
