/** Tells a service manager such as systemd how a server is: READY, STATUS, WATCHDOG, STOPPING. Without one nothing happens. */

import { takeNotifier, watchdogTime } from '../system/notify-socket.ts'

/** Between two looks at the state. */
const STATUS_MS = 5000

export interface ServiceManager {
  /** The server can be used. `status` gives one line, which is told when it changes. */
  ready(status: () => string): void
  stopping(): void
  end(): void
}

export function serviceManager(env: NodeJS.ProcessEnv = process.env): ServiceManager {
  const time = watchdogTime(env)
  const notifier = takeNotifier(env)
  if (notifier === null) return { ready: () => {}, stopping: () => {}, end: () => {} }
  const timers: NodeJS.Timeout[] = []
  let last = ''
  const end = () => {
    for (const timer of timers.splice(0)) clearInterval(timer)
  }
  return {
    ready(status) {
      last = status()
      notifier.send('READY=1', `STATUS=${last}`)
      const look = () => {
        const now = status()
        if (now !== last) notifier.send(`STATUS=${now}`)
        last = now
      }
      timers.push(setInterval(look, STATUS_MS).unref())
      // Twice as often as it must be. The timer runs only if the event loop does, by which guests are served too.
      if (time !== null) timers.push(setInterval(() => notifier.send('WATCHDOG=1'), time / 2).unref())
    },
    stopping() {
      notifier.send('STOPPING=1', 'STATUS=stopping')
    },
    end,
  }
}
