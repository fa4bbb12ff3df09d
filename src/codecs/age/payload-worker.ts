/**
 * Seals and opens chunks of a payload in a thread of its own, with Node's own cipher: koffi must not be loaded here. It ends the process if
 * a thread is ended that is just loading it.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { byNode } from './chunk-cipher.ts'
import { type PayloadJob, type PayloadResult, work } from './payload-job.ts'

const { key, seal } = workerData as { key: Uint8Array; seal: boolean }

parentPort!.on('message', (job: PayloadJob) => {
  const result = { id: job.id, memory: job.memory, ...work(byNode, { key, seal }, job) }
  parentPort!.postMessage(result satisfies PayloadResult, [job.memory])
})
