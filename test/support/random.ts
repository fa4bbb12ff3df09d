/** Numbers that a printed seed gives again (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

/** VMAPIPE_SEED, or a new one. */
export const seed = Number(process.env.VMAPIPE_SEED ?? Math.floor(Math.random() * 2 ** 31))
