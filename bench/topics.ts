/** The topics, in the order of RESULTS.md. A topic's modules are loaded when it runs. */

import type { RunTopic } from './topic.ts'

/** Those that take very long: only when they are asked for. */
export const LONG: readonly string[] = ['soak']

/** Those that --quick leaves out: guests write for minutes, a network is slow, or even small images take them long. */
export const SLOW: readonly string[] = ['frames', 'scale', 'boot', 'nbd-server', 'live', 'tracking', 'qemu']

export const TOPICS: Record<string, () => Promise<{ run: RunTopic }>> = {
  startup: () => import('./startup.ts'),
  backup: () => import('./backup.ts'),
  verify: () => import('./verify.ts'),
  restore: () => import('./restore.ts'),
  chains: () => import('./incremental/chain.ts'),
  frames: () => import('./frames.ts'),
  incremental: () => import('./incremental.ts'),
  pipelines: () => import('./pipelines.ts'),
  encryption: () => import('./encryption.ts'),
  s3: () => import('./s3.ts'),
  sparse: () => import('./sparse.ts'),
  scale: () => import('./scale.ts'),
  'random-access': () => import('./random-access.ts'),
  boot: () => import('./boot.ts'),
  'nbd-server': () => import('./nbd-server.ts'),
  live: () => import('./live.ts'),
  tracking: () => import('./tracking.ts'),
  qemu: () => import('./qemu.ts'),
  jobs: () => import('./jobs.ts'),
  fleet: () => import('./fleet.ts'),
  dedup: () => import('./dedup.ts'),
  soak: () => import('./soak.ts'),
  micro: () => import('./micro.ts'),
}
