/** What turns a piece of the archive into one independent frame. */
export interface FrameEncoder {
  /** The most memory that a frame of `bytes` bytes takes, in bytes. */
  bound(bytes: number): number
  /** One frame, in pieces, each with memory of its own. `bytes` stays as it is until the promise settles. */
  encode(bytes: Buffer): Promise<Uint8Array[]>
}
