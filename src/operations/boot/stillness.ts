/** A screen that is still but for what blinks, such as a cursor or the colon of a clock. */

import { mainColour, type Screen } from './screen.ts'

/** Rows by which a console scrolls for a key: a line of text, of a large font on a large screen too. */
const MOST_SCROLLED = 64

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
    if (!this.#isSameSize(screen)) return 1
    for (let y = 0; y < screen.height; y++) {
      for (const pixel of this.#changedIn(screen, y, y)) {
        if (this.#blinking[pixel] === 0) this.#count++
        this.#blinking[pixel] = 1
      }
    }
    return this.#count / this.#blinking.length
  }

  /**
   * The number of pixels that are something new, which never blinked, however far the screen has scrolled: a console without a reader
   * scrolls too. All of them for a picture of another size.
   */
  newPixels(screen: Screen): number {
    if (!this.#isSameSize(screen)) return this.#blinking.length
    let least = this.#blinking.length
    for (let scrolled = 0; scrolled <= MOST_SCROLLED && least > 0; scrolled++)
      least = Math.min(least, this.#newAfter(screen, scrolled, least))
    return least
  }

  /** The same for a screen that has scrolled by so many rows; it stops counting at `most`. */
  #newAfter(screen: Screen, scrolled: number, most: number): number {
    const { width, height } = screen
    let count = 0
    for (let y = 0; y < height && count < most; y++) {
      if (y + scrolled < height) {
        for (const pixel of this.#changedIn(screen, y, y + scrolled)) if (this.#blinking[pixel] === 0) count++
      } else count += this.#writtenIn(screen, y * width * 3, width)
    }
    return count
  }

  /** Numbers of the pixels of the first picture's row `from` that are others in this row of the picture. */
  *#changedIn({ width, pixels }: Screen, row: number, from: number): Generator<number> {
    const [at, before] = [row * width * 3, from * width * 3]
    const first = this.#first.pixels
    if (pixels.compare(first, before, before + width * 3, at, at + width * 3) === 0) return
    for (let x = 0; x < width; x++) {
      const [a, b] = [at + x * 3, before + x * 3]
      if (pixels[a] !== first[b] || pixels[a + 1] !== first[b + 1] || pixels[a + 2] !== first[b + 2])
        yield from * width + x
    }
  }

  /** The pixels of a row that has come into the picture and that are not of the colour of an empty screen. */
  #writtenIn({ pixels }: Screen, at: number, width: number): number {
    const empty = mainColour(this.#first)
    let count = 0
    for (let x = 0; x < width; x++) if (pixels.readUIntBE(at + x * 3, 3) !== empty) count++
    return count
  }

  #isSameSize({ width, height }: Screen): boolean {
    return width === this.#first.width && height === this.#first.height
  }
}
