/** Ranges of blocks that somebody is busy with, each held by one at a time. */

interface Claim {
  from: number
  to: number
  over: Promise<void>
}

export class Claims {
  readonly #claims = new Set<Claim>()

  /** Waits until nobody has any of `from`..`to`; theirs from then on, until what this returns is called. */
  async take(from: number, to: number): Promise<() => void> {
    for (let other = this.#overlapping(from, to); other; other = this.#overlapping(from, to)) await other.over
    let end = () => {}
    const over = new Promise<void>((resolve) => {
      end = resolve
    })
    const claim = { from, to, over }
    this.#claims.add(claim)
    return () => {
      this.#claims.delete(claim)
      end()
    }
  }

  /** Waits until everything that is held now is given back. */
  async idle(): Promise<void> {
    await Promise.all([...this.#claims].map(({ over }) => over))
  }

  #overlapping(from: number, to: number): Claim | undefined {
    for (const claim of this.#claims) if (claim.from < to && from < claim.to) return claim
    return undefined
  }
}
