/**
 * Pings, as healthchecks.io and those that do alike take them: URL/start at the start, URL at success, URL/fail at a failure, URL/log
 * for a test, which changes nothing. The body is the summary.
 */

import { clip, type Message, type NotifyEvent } from './message.ts'
import { type SendOptions, send } from './request.ts'
import type { Ping } from './schema.ts'
import { readCertificates, readUrl } from './secrets.ts'

const PARTS: Record<NotifyEvent, string> = { start: '/start', success: '', failure: '/fail', test: '/log' }

/** Characters. Healthchecks keeps the first 100 kB. */
const LONGEST_BODY = 20_000

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export async function sendPing(
  ping: Ping,
  { event, title, text, report }: Message,
  options: SendOptions,
): Promise<void> {
  const url = await readUrl(ping.ping)
  url.pathname = `${url.pathname.replace(/\/$/, '')}${PARTS[event]}`
  // The id of the run joins its start and its end, so that the time between them is measured.
  if (UUID.test(report.run)) url.searchParams.set('rid', report.run)
  const body = clip(`${title}\n\n${text}`, LONGEST_BODY)
  const ca = ping.ca === undefined ? undefined : await readCertificates(ping.ca)
  await send({ url, method: 'POST', headers: { 'content-type': 'text/plain; charset=utf-8' }, body, ca }, options)
}
