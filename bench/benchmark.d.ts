/** What we use of the benchmark package, which brings no types. */
declare module 'benchmark' {
  export interface Target {
    name: string
    /** Runs a second, and how sure that is. */
    hz: number
    stats: { rme: number; sample: number[] }
  }
  export class Suite {
    add(name: string, fn: () => void, options?: { maxTime?: number }): this
    on(event: 'cycle' | 'complete' | 'error', listener: (event: { target: Target & { error?: Error } }) => void): this
    run(options?: { async?: boolean }): this
  }
  const benchmark: { Suite: typeof Suite }
  export default benchmark
}
