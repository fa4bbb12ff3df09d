/** Reads a description of a guest that may be wrong in parts: what is wrong is left out, and hides nothing else. */

import { MACHINE_VERSION, type Machine, machineSchema } from './machine.ts'

/** Null if it is no description at all, or one of a later version. */
export function soundParts(given: unknown): Machine | null {
  if (typeof given !== 'object' || given === null) return null
  const { version, from } = given as Record<string, unknown>
  const base = { version, from, disks: [] }
  if (version !== MACHINE_VERSION || !machineSchema.safeParse(base).success) return null
  const isSound = (key: string, value: unknown) => machineSchema.safeParse({ ...base, [key]: value }).success
  const parts = Object.entries(given).flatMap(([key, value]) => {
    const left = Array.isArray(value) ? value.filter((one) => isSound(key, [one])) : value
    return left !== undefined && isSound(key, left) ? [[key, left] as const] : []
  })
  return machineSchema.parse({ ...base, ...Object.fromEntries(parts) })
}
