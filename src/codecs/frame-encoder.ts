/** Defines an encoder, which makes one independent frame of a piece of the archive. */

export interface FrameEncoder {
  /** The most memory that a frame of `bytes` bytes takes, in bytes. */
  bound(bytes: number): number
  /**
   * Writes the frame into `frame`, which has `bound` bytes, and returns its length. Both buffers must not change until the promise
   * settles.
   */
  encode(content: Buffer, frame: Buffer): Promise<number>
  /** Call it when nothing is being encoded. */
  close?(): void
}
