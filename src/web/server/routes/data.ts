/** Data of guests: files, drives, pictures. A stream is read as the browser reads it, and ended when the browser goes away. */

import type { Readable } from 'node:stream'
import { QUERIES } from '../action-schema.ts'
import { json, queryOf, Refusal } from '../answers.ts'
import { goesOn } from '../asker.ts'
import { attachment, DATA_POLICY } from '../headers.ts'
import { permits } from '../roles.ts'
import { type Route, sessionOf, type Web, type WebContext } from '../web.ts'

/** Milliseconds of a download after which it is asked again whether it may go on. */
const ASK_MS = 1000

export const dataRoutes: readonly Route[] = [
  { method: 'GET', path: '/api/picture', need: 'look', handle: picture },
  { method: 'GET', path: '/api/files', need: 'operate', handle: files },
  { method: 'GET', path: '/api/download', need: 'operate', handle: download },
]

async function picture(c: WebContext, { house }: Web): Promise<Response> {
  const { host, archive } = queryOf(c, QUERIES.archive)
  const png = await house.picture(host, archive)
  if (png === null) throw new Refusal(404, 'NOT_FOUND', 'there is no picture')
  return new Response(new Uint8Array(png), {
    headers: { 'content-type': 'image/png', 'cache-control': 'private, max-age=300' },
  })
}

async function files(c: WebContext, { house, audit }: Web): Promise<Response> {
  const { host, archive, path } = queryOf(c, QUERIES.files)
  refuseIfUnable(house.abilities)
  const { user: who } = sessionOf(c)
  const detail = `folder ${path || '/'} of archive ${archive} on ${host}`
  const about = { who, from: c.get('asker').from, what: 'look-into', detail }
  try {
    const found = await house.files(host, archive, path)
    await audit.add({ ...about, outcome: 'done' })
    return json(c, found)
  } catch (error) {
    await audit.add({ ...about, outcome: 'failed' })
    throw error
  }
}

async function download(c: WebContext, web: Web): Promise<Response> {
  const asked = queryOf(c, QUERIES.download)
  refuseIfUnable(web.house.abilities)
  const session = sessionOf(c)
  const leave = web.limits.downloads.enter(session.id)
  if (leave === null)
    throw new Refusal(429, 'TOO_MANY', 'there are too many downloads at once', {
      hint: 'wait until one has ended',
      'retry-after': '30',
    })
  const ending = new AbortController()
  const signal = AbortSignal.any([ending.signal, session.ended.signal, web.closing, c.req.raw.signal])
  const about = {
    ...{ who: session.user, from: c.get('asker').from, what: 'download' },
    detail: `${asked.drive === undefined ? `file ${asked.file}` : `drive ${asked.drive}`} of archive ${asked.archive} on ${asked.host}`,
  }
  try {
    const { name, size, content } = await web.house.download(asked, signal)
    // It may fail before it is read, and say so once more when it is destroyed: reading it tells its error.
    content.on('error', () => {})
    await web.audit.add({ ...about, outcome: 'done' })
    const { proxied } = c.get('asker')
    const mayGoOn = async () => (await goesOn(session, web, proxied)) && permits(session.role, 'operate')
    const body = pulled({ content, signal, c, mayGoOn }, async (bytes, error) => {
      leave()
      ending.abort()
      if (error === null && (size === null || bytes === size)) return
      const detail = `${about.detail}: ended after ${bytes} bytes${error === null ? '' : `, ${error.message}`}`
      await web.audit.add({ ...about, detail, outcome: 'failed' })
    })
    return new Response(body, {
      headers: {
        'content-type': 'application/octet-stream',
        'content-disposition': attachment(name),
        'content-security-policy': DATA_POLICY,
        'accept-ranges': 'none',
        ...(size === null ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(size) }),
      },
    })
  } catch (error) {
    leave()
    ending.abort()
    await web.audit.add({ ...about, outcome: 'failed' })
    throw error
  }
}

function refuseIfUnable({ download, why }: Web['house']['abilities']): void {
  if (download) return
  const hint = why.download
  throw new Refusal(400, 'USAGE', 'nothing can be downloaded here', { ...(hint !== undefined && { hint }) })
}

interface Pulled {
  content: Readable
  signal: AbortSignal
  c: WebContext
  /** Whether who has asked for it still may: a drive takes hours, and an account may be removed, or its role changed, meanwhile. */
  mayGoOn: () => Promise<boolean>
}

/**
 * The content as a stream that takes a piece only if the connection has room. A content that fails cuts the connection: a browser must not
 * take half a drive for the whole.
 */
function pulled(
  { content, signal, c, mayGoOn }: Pulled,
  ended: (bytes: number, error: Error | null) => Promise<void>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const pieces = content[Symbol.asyncIterator]()
  let bytes = 0
  let isOver = false
  let askedAt = performance.now()
  const end = (error: Error | null) => {
    if (isOver) return
    isOver = true
    signal.removeEventListener('abort', abort)
    if (!content.destroyed) content.destroy()
    void ended(bytes, error)
  }
  const cut = (error: Error) => {
    c.env.outgoing.destroy()
    end(error)
  }
  const abort = () => cut(new Error('the browser went away, or its session has ended'))
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          if (performance.now() - askedAt > ASK_MS) {
            if (!(await mayGoOn())) return abort()
            askedAt = performance.now()
          }
          const { done, value } = await pieces.next()
          if (done || isOver) {
            if (!isOver && content.errored) throw content.errored
            end(null)
            return controller.close()
          }
          bytes += value.length
          controller.enqueue(value)
        } catch (error) {
          cut(error as Error)
          controller.close()
        }
      },
      cancel: () => abort(),
    },
    { highWaterMark: 0 },
  )
}
