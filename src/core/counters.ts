/**
 * Numbers that a run counts: bytes unless the name says otherwise. Stages add, progress displays look.
 * The well-known names; a stage may add names of its own.
 *
 *   total     bytes that the run has to go through (drives, or an archive of known size), where known
 *   done      of these, how many it has been through
 *   read      bytes really read from drives or from the archive
 *   zero      bytes of drives that are zero: holes, and blocks found to be zero
 *   archive   bytes of the VMA stream, uncompressed
 *   written   bytes given to the sink, or written to drives
 */
export class Counters {
  readonly #values = new Map<string, number>()

  add(name: string, value: number): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + value)
  }

  set(name: string, value: number): void {
    this.#values.set(name, value)
  }

  get(name: string): number {
    return this.#values.get(name) ?? 0
  }

  toJSON(): Record<string, number> {
    return Object.fromEntries(this.#values)
  }
}
