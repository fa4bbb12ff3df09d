/** A heap of which any item can be removed or moved: each item knows where it is. An item is in one heap at a time. */

export interface HeapItem {
  /** Its index in its heap; -1 if it is in none. */
  at: number
}

export class Heap<Item extends HeapItem> {
  readonly #items: Item[] = []
  readonly #order: (a: Item, b: Item) => number

  constructor(order: (a: Item, b: Item) => number) {
    this.#order = order
  }

  get size(): number {
    return this.#items.length
  }

  get first(): Item | undefined {
    return this.#items[0]
  }

  push(item: Item): void {
    this.#items.push(item)
    this.#up(item, this.#items.length - 1)
  }

  pop(): Item | undefined {
    const first = this.#items[0]
    if (first !== undefined) this.remove(first)
    return first
  }

  remove(item: Item): void {
    const { at } = item
    const last = this.#items.pop()!
    item.at = -1
    if (last === item) return
    last.at = at
    this.#items[at] = last
    this.moved(last)
  }

  /** The item's place in the order has changed. */
  moved(item: Item): void {
    this.#up(item, item.at)
    this.#down(item, item.at)
  }

  #up(item: Item, from: number): void {
    let at = from
    while (at > 0) {
      const above = (at - 1) >>> 1
      if (this.#order(item, this.#items[above]) >= 0) break
      this.#put(this.#items[above], at)
      at = above
    }
    this.#put(item, at)
  }

  #down(item: Item, from: number): void {
    let at = from
    for (;;) {
      let below = 2 * at + 1
      if (below >= this.#items.length) break
      if (below + 1 < this.#items.length && this.#order(this.#items[below + 1], this.#items[below]) < 0) below++
      if (this.#order(item, this.#items[below]) <= 0) break
      this.#put(this.#items[below], at)
      at = below
    }
    this.#put(item, at)
  }

  #put(item: Item, at: number): void {
    this.#items[at] = item
    item.at = at
  }
}
