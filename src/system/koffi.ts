/** koffi, which calls functions of C libraries. Loaded when it is first needed, as its compiled code is optional. */

import type koffi from 'koffi'
import { requireCompiled } from './native.ts'

export type Koffi = typeof koffi

/** Throws if koffi cannot be loaded. */
export function loadKoffi(): Koffi {
  return requireCompiled('koffi') as Koffi
}
