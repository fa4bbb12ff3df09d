/**
 * The counters of a run, in bytes unless the name says otherwise. Stages add to them and progress displays read them.
 * These are the well-known names; a stage may add its own.
 *
 *   total     bytes that the run has to go through (drives, or an archive of known size), if known
 *   done      the bytes of `total` that it has gone through
 *   read      bytes that were read from drives or from the archive
 *   zero      bytes of drives that are zero: holes, and blocks found to be zero
 *   archive   bytes of the VMA stream, uncompressed
 *   written   bytes given to the sink, or written to drives
 *
 *     const counters = new Counters()
 *     await verify({ from: 'vm.vma', counters })
 *     console.log(counters.get('read'), 'bytes were read')
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
