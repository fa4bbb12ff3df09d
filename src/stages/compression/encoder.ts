/** What turns a piece of the archive into one independent frame. */

export interface FrameEncoder {
  /** The most memory that a frame of `bytes` bytes takes, in bytes. */
  bound(bytes: number): number
  /**
   * Writes the frame into `frame`, which has room for `bound` of it, and gives its length. Both stay as they are until the
   * promise settles.
   */
  encode(content: Buffer, frame: Buffer): Promise<number>
  /** When nothing is being encoded. */
  close?(): void
}
