/** Tells all who are to be told of a run. What fails here never fails the run; it is said. */

import { dirname, resolve } from 'node:path'
import { asVmapipeError, printable } from '../../core/errors.ts'
import type { RunReport } from '../report.ts'
import { messageOf, type NotifyEvent } from './message.ts'
import type { Notification, UrlOrFile } from './schema.ts'

export interface NotifyOptions {
  /** Takes one line for each notification that failed. */
  warn?: (message: string) => void
  signal?: AbortSignal
  /** Whether this run went otherwise than the one before: for those who want to be told of that. */
  changed?: boolean
  /** Milliseconds between two attempts. */
  pause?: number
}

/** What became of one notification. */
export interface Told {
  /** Who was told, without secrets: "mail to root", "the webhook at hooks.slack.com". */
  who: string
  /** Why it failed; one line. */
  problem?: string
}

/**
 * Sends what `job.notify` asks for at this event, all at once, and resolves when each was taken or has failed, which takes at most about
 * a minute. It never rejects. Those whose `on` does not name the event are left out; a test is sent to all.
 */
export async function notify(
  job: { notify?: readonly Notification[] | undefined; file?: string },
  event: NotifyEvent,
  report: RunReport,
  options: NotifyOptions = {},
): Promise<Told[]> {
  const message = messageOf(event, report)
  const wanted = (job.notify ?? []).filter((one) => event === 'test' || isWanted(one, event, options.changed ?? false))
  return Promise.all(
    wanted.map(async (one): Promise<Told> => {
      const who = nameOf(one)
      try {
        await tell(inFolder(one, job.file), message, options)
        return { who }
      } catch (error) {
        const problem = printable(asVmapipeError(error).text)
        options.warn?.(`${who} failed: ${problem}`)
        return { who, problem }
      }
    }),
  )
}

function isWanted(one: Notification, event: Exclude<NotifyEvent, 'test'>, changed: boolean): boolean {
  const on = [one.on ?? ('ping' in one ? 'always' : 'failure')].flat()
  // People who are told of every end need no word of every start; a ping measures the time between them.
  if (event !== 'start' && changed && on.includes('change')) return true
  return on.includes(event) || (on.includes('always') && (event !== 'start' || 'ping' in one))
}

async function tell(
  one: Notification,
  message: ReturnType<typeof messageOf>,
  { signal, pause }: NotifyOptions,
): Promise<void> {
  const { timeout } = one
  if ('mail' in one) return (await import('./mail.ts')).sendMail(one, message, { signal, timeout })
  if ('webhook' in one) return (await import('./webhook.ts')).sendWebhook(one, message, { signal, timeout, pause })
  return (await import('./ping.ts')).sendPing(one, message, { signal, timeout, pause })
}

function nameOf(one: Notification): string {
  if ('mail' in one) return `mail to ${[one.mail].flat().join(', ')}`
  const [kind, url] = 'webhook' in one ? ['webhook', one.webhook] : ['ping', one.ping]
  return `the ${kind} ${typeof url === 'string' ? `at ${URL.parse(url)?.host ?? 'no host'}` : `of ${url.file}`}`
}

/** The same with whole paths: those in a job file count from its folder. */
function inFolder(one: Notification, jobFile: string | undefined): Notification {
  if (jobFile === undefined) return one
  const whole = (path: string) => resolve(dirname(jobFile), path)
  const url = (from: UrlOrFile) => (typeof from === 'string' ? from : { file: whole(from.file) })
  const ca = (path: string | undefined) => path !== undefined && { ca: whole(path) }
  if ('ping' in one) return { ...one, ping: url(one.ping), ...ca(one.ca) }
  if ('webhook' in one) {
    const token = one['token-file']
    return {
      ...one,
      webhook: url(one.webhook),
      ...ca(one.ca),
      ...(token !== undefined && { 'token-file': whole(token) }),
    }
  }
  if (one.smtp === undefined) return one
  const password = one.smtp['password-file']
  const smtp = { ...one.smtp, ...ca(one.smtp.ca), ...(password !== undefined && { 'password-file': whole(password) }) }
  return { ...one, smtp }
}
