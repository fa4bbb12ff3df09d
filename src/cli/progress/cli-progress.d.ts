/** The part of cli-progress that is used here; the package brings no types. */
declare module 'cli-progress' {
  export interface Options {
    stream?: NodeJS.WritableStream
    fps?: number
    hideCursor?: boolean
    clearOnComplete?: boolean
    emptyOnZero?: boolean
    format?: (options: unknown, params: { progress: number }, payload: { line: string }) => string
  }
  export interface SingleBar {
    update(value: number, payload?: object): void
  }
  export class MultiBar {
    constructor(options: Options)
    create(total: number, startValue: number, payload?: object): SingleBar
    log(text: string): void
    update(): void
    stop(): void
  }
}
