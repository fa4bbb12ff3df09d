/**
 * KVM where it works, TCG where it does not. That /dev/kvm is there says little (in a virtual machine a kernel may hang in
 * it), so a guest is booted in it once; the answer is kept for as long as the host runs.
 */

import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE } from './kernel.ts'

export type Accelerator = 'kvm' | 'tcg'

/** `boots` tries to boot a guest with KVM; it resolves in a few seconds either way. */
export async function accelerator(boots: () => Promise<boolean>): Promise<Accelerator> {
  if (!isAccessible('/dev/kvm')) return 'tcg'
  const answer = join(CACHE, `accelerator-${bootId()}`)
  return recall(answer) ?? keep(answer, (await boots()) ? 'kvm' : 'tcg')
}

function recall(path: string): Accelerator | undefined {
  try {
    const text = readFileSync(path, 'utf8')
    return text === 'kvm' || text === 'tcg' ? text : undefined
  } catch {
    return undefined
  }
}

function keep(path: string, answer: Accelerator): Accelerator {
  mkdirSync(CACHE, { recursive: true })
  writeFileSync(path, answer)
  return answer
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

function isAccessible(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}
