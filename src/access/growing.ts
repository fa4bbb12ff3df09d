/** Numbers that are added one by one, four bytes each. */

export class GrowingNumbers {
  #numbers = new Uint32Array(64)
  #length = 0

  push(value: number): void {
    if (this.#length === this.#numbers.length) {
      const larger = new Uint32Array(this.#length * 2)
      larger.set(this.#numbers)
      this.#numbers = larger
    }
    this.#numbers[this.#length++] = value
  }

  /** A view of them. */
  get all(): Uint32Array {
    return this.#numbers.subarray(0, this.#length)
  }

  get length(): number {
    return this.#length
  }
}
