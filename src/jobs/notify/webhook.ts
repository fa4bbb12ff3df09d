/** Webhooks: the request that each kind of receiver understands. None of them gets markup: what guests are named is text. */

import { createHash } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { clip, type Message } from './message.ts'
import { type Outgoing, type SendOptions, send } from './request.ts'
import type { TEMPLATES, Webhook } from './schema.ts'
import { readCertificates, readSecret, readUrl } from './secrets.ts'

type Template = (typeof TEMPLATES)[number]

interface To {
  url: URL
  token: string | undefined
  room: string | undefined
}

/** Limits of the receivers, in characters. A message of ntfy that is longer than 4096 bytes becomes an attachment. */
const NTFY_TEXT = 1300
const SLACK_SECTION = 2900
const SLACK_HEADER = 145
const GOTIFY_TEXT = 10_000
/** An event of Matrix has at most 64 KiB. */
const MATRIX_TEXT = 15_000

export async function sendWebhook(webhook: Webhook, message: Message, options: SendOptions): Promise<void> {
  const { template = 'json', 'token-file': tokenFile, room } = webhook
  const url = await readUrl(webhook.webhook)
  const token = tokenFile === undefined ? undefined : await readSecret(tokenFile)
  const request = REQUESTS[template]({ url, token, room }, message)
  const ca = webhook.ca === undefined ? undefined : await readCertificates(webhook.ca)
  await send({ ...request, headers: { ...request.headers, ...webhook.headers }, ca }, options)
}

const REQUESTS: Record<Template, (to: To, message: Message) => Outgoing> = {
  json: ({ url, token }, { event, title, text, report }) => post(url, { event, title, text, report }, bearer(token)),

  // https://docs.ntfy.sh/publish/#publish-as-json: the topic is the last part of the URL. As headers, title and text could not be any text.
  ntfy({ url, token }, { event, title, text }) {
    const [, base, topic] = /^(.*\/)([^/]+)\/?$/.exec(url.pathname) ?? []
    if (topic === undefined) throw new VmapipeError('FAILED', `the URL of ntfy at ${url.host} has no topic`)
    const to = new URL(url)
    to.pathname = base
    const urgent = event === 'failure'
    const tags = [urgent ? 'rotating_light' : 'white_check_mark']
    const body = {
      topic: decodeURIComponent(topic),
      title,
      message: clip(text, NTFY_TEXT),
      priority: urgent ? 4 : 3,
      tags,
    }
    return post(to, body, bearer(token))
  },

  // https://docs.slack.dev/reference/block-kit: text in `plain_text` is never markup. Mattermost and others show `text` instead.
  slack: ({ url, token }, { title, text }) =>
    post(
      url,
      {
        text: escapeSlack(`${title}\n${clip(text, SLACK_SECTION)}`),
        blocks: [
          { type: 'header', text: { type: 'plain_text', text: clip(title, SLACK_HEADER), emoji: false } },
          { type: 'section', text: { type: 'plain_text', text: clip(text, SLACK_SECTION) || '-', emoji: false } },
        ],
      },
      bearer(token),
    ),

  // https://gotify.net/docs/pushmsg
  gotify: ({ url, token }, { event, title, text }) =>
    post(
      endingWith(url, 'message'),
      {
        title,
        message: clip(text, GOTIFY_TEXT),
        priority: event === 'failure' ? 8 : 4,
        extras: { 'client::display': { contentType: 'text/plain' } },
      },
      token === undefined ? {} : { 'x-gotify-key': token },
    ),

  // PUT with an id of the transaction: a second attempt does not show the message twice.
  matrix({ url, token, room }, { event, title, text, report }) {
    if (room === undefined)
      throw new VmapipeError('FAILED', 'the room of Matrix is missing', { hint: 'add room: !id:server' })
    const id = createHash('sha256')
      .update(JSON.stringify([report.job, report.run, event]))
      .digest('hex')
      .slice(0, 32)
    const path = `_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/${id}`
    const body = { msgtype: 'm.text', body: `${title}\n${clip(text, MATRIX_TEXT)}` }
    return { ...post(endingWith(url, path), body, bearer(token)), method: 'PUT' }
  },
}

function post(url: URL, body: unknown, headers: Record<string, string>): Outgoing {
  return {
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  }
}

function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` }
}

/** The URL with these parts at its end, if it has them not yet. */
function endingWith(url: URL, parts: string): URL {
  const to = new URL(url)
  if (!to.pathname.endsWith(`/${parts}`)) to.pathname = `${to.pathname.replace(/\/$/, '')}/${parts}`
  return to
}

/** https://docs.slack.dev/messaging/formatting-message-text: `<!channel>` in a name would wake everybody. */
function escapeSlack(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
