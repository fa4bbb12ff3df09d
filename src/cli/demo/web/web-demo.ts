/** `vmapipe demo --web`: made-up guests on the page, backed up over and over, until somebody ends it. */

import { setTimeout as sleep } from 'node:timers/promises'
import { printable } from '../../../core/errors.ts'
import { openHostHouse } from '../../../web/host/host-house.ts'
import { planPage, servePage } from '../../page-serving.ts'
import { noteLine } from '../../text.ts'
import { version } from '../../version.ts'
import { webFolder } from '../../web-people.ts'
import { Scene } from './scene.ts'

/** Slow enough to be looked at: a backup takes about a minute. */
const RATE = '6MiB/s'
/** Between two runs of the job, in milliseconds. */
const REST_MS = 15_000

interface WebDemo {
  dir: string
  /** Where the page is served, such as 127.0.0.1:8461. */
  listen: string
  signal: AbortSignal
  say: (...lines: string[]) => void
}

/** Resolves when the signal is aborted. Throws if anything ends before that. */
export async function runWebDemo({ dir, listen, signal, say }: WebDemo): Promise<void> {
  const plan = planPage({ listen, headerRole: 'look' })
  say('Three guests are made up, and begin to write')
  const scene = await Scene.make(dir, signal)
  try {
    say('Two of them are backed up twice; the third one is in no job')
    await unlessEnded(scene.backUp(null), signal)
    await unlessEnded(scene.backUp(null), signal)
    const warn = (message: string) => void process.stderr.write(`${printable(noteLine('warning', message))}\n`)
    const { state, runtime, jobs, restored } = scene
    const house = await openHostHouse({
      ...{ state, runtime, jobsFolders: [jobs], restoreTo: [restored], version: version(), name: 'demo' },
    })
    const page = await servePage(plan, { house, folder: webFolder(state), warn })
    try {
      say('A third backup goes on, slowly, and others after it. The page signs you in:', '')
      say(`  ${await page.link('administer')}`, '', 'Ctrl-C ends the demo, and removes all of it')
      await unlessEnded(backUpAgain(scene), signal)
    } finally {
      await page.close()
      await house.close()
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    await scene.close()
  }
}

async function backUpAgain(scene: Scene): Promise<never> {
  for (;;) {
    // Somebody may cancel it on the page, or start one there meanwhile: both are shown there.
    await scene.backUp(RATE).catch(() => {})
    await sleep(REST_MS, undefined, { ref: false })
  }
}

/** Rejects when the signal is aborted, whatever the work is at. */
function unlessEnded<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => {})
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason)
    if (signal.aborted) return end()
    signal.addEventListener('abort', end, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end))
  })
}
