/** A screen that is still but for what blinks, such as a cursor or the colon of a clock. */

import type { Screen } from './screen.ts'

export class Stillness {
  readonly #first: Screen
  readonly #since = performance.now()
  /** 1 for each pixel that has changed since. */
  readonly #blinking: Uint8Array
  #count = 0

  constructor(first: Screen) {
    this.#first = first
    this.#blinking = new Uint8Array(first.width * first.height)
  }

  get milliseconds(): number {
    return performance.now() - this.#since
  }

  /** Takes another picture. Returns the part of the pixels that have changed at some time, from 0 to 1; 1 for another size. */
  add(screen: Screen): number {
    for (const pixel of this.#changed(screen)) {
      if (pixel < 0) return 1
      if (this.#blinking[pixel] === 0) this.#count++
      this.#blinking[pixel] = 1
    }
    return this.#count / this.#blinking.length
  }

  /** The number of pixels that differ from the first picture, and have never changed until now. */
  newPixels(screen: Screen): number {
    let count = 0
    for (const pixel of this.#changed(screen)) {
      if (pixel < 0) return this.#blinking.length
      if (this.#blinking[pixel] === 0) count++
    }
    return count
  }

  /** Numbers of the pixels that differ from the first picture; -1 for a picture of another size. */
  *#changed({ width, height, pixels }: Screen): Generator<number> {
    const first = this.#first
    if (width !== first.width || height !== first.height) return yield -1
    if (pixels.equals(first.pixels)) return
    for (let pixel = 0, at = 0; pixel < this.#blinking.length; pixel++, at += 3) {
      if (
        pixels[at] !== first.pixels[at] ||
        pixels[at + 1] !== first.pixels[at + 1] ||
        pixels[at + 2] !== first.pixels[at + 2]
      )
        yield pixel
    }
  }
}
