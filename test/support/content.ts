/** Bytes for tests, and what the real programs make of them. */

import { spawnSync } from 'node:child_process'

/** `bytes` in chunks of `size` bytes. */
export function cut(bytes: Uint8Array, size: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let from = 0; from < bytes.length; from += size) parts.push(bytes.subarray(from, from + size))
  return parts
}

/** What a program of the system makes of these bytes; throws where it fails. */
export function piped(program: string, args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr, error } = spawnSync(program, args, { input, maxBuffer: 1 << 30 })
  if (error) throw error
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${status}: ${stderr}`)
  return stdout
}

/** Text-like and random stretches, the same for the same seed. */
export function halfCompressible(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 8
  }
  for (let at = 0; at < length; ) {
    const stretch = Math.min(length - at, 1 + (next() & 4095))
    const random = (next() & 1) !== 0
    const word = next() & 0xffff
    for (const end = at + stretch; at < end; at++) bytes[at] = random ? next() : (word >> (at & 3)) & 0x7f
  }
  return bytes
}
