/** Gives the files of the page. Each is compressed once, when it is first asked for. A browser that has a file is only told so, by its ETag. */

import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { PAGE_POLICY } from './headers.ts'
import type { Page, PageFile } from './page-files.ts'

type Coding = 'br' | 'gzip' | 'identity'

/** Less than this does not become smaller in a packet. */
const LEAST_BYTES = 1000
const COMPRESSIBLE = /^(text\/|application\/(javascript|json|manifest\+json)|image\/svg)/

export class StaticFiles {
  readonly #load: () => Promise<Page>
  #page: Promise<Page> | null = null
  readonly #made = new Map<string, Promise<Uint8Array<ArrayBuffer>>>()
  readonly #tags = new Map<PageFile, string>()

  constructor(page: Page | (() => Promise<Page>)) {
    this.#load = typeof page === 'function' ? page : async () => page
  }

  /** Null if there is no such file. A path without a dot is a view of the page, so it gets the page. */
  async answer(path: string, asked: Headers): Promise<Response | null> {
    this.#page ??= this.#load()
    const page = await this.#page.catch((error) => {
      this.#page = null
      throw error
    })
    const name = page.has(path) ? path : /^[^.]*$/.test(path) ? '/index.html' : null
    const file = name === null ? undefined : page.get(name)
    if (name === null || file === undefined) return null
    const coding = codingOf(file, asked.get('accept-encoding') ?? '')
    const tag = `"${this.#tagOf(file)}-${coding}"`
    const headers = new Headers({
      'content-type': file.type,
      etag: tag,
      vary: 'accept-encoding',
      'cache-control': file.immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
      'content-security-policy': PAGE_POLICY,
    })
    if (hasTag(asked.get('if-none-match') ?? '', tag)) return new Response(null, { status: 304, headers })
    if (coding !== 'identity') headers.set('content-encoding', coding)
    const body = await this.#bodyOf(name, file, coding)
    headers.set('content-length', String(body.byteLength))
    return new Response(body, { headers })
  }

  #tagOf(file: PageFile): string {
    let tag = this.#tags.get(file)
    if (tag === undefined) {
      tag = createHash('sha256').update(file.body).digest('base64url').slice(0, 22)
      this.#tags.set(file, tag)
    }
    return tag
  }

  #bodyOf(name: string, { body }: PageFile, coding: Coding): Promise<Uint8Array<ArrayBuffer>> {
    const key = `${coding} ${name}`
    let made = this.#made.get(key)
    if (made === undefined) {
      made = compressed(body, coding)
      this.#made.set(key, made)
    }
    return made
  }
}

async function compressed(body: Buffer, coding: Coding): Promise<Uint8Array<ArrayBuffer>> {
  if (coding === 'identity') return new Uint8Array(body)
  if (coding === 'gzip') return new Uint8Array(await promisify(gzip)(body, { level: 9 }))
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length }
  return new Uint8Array(await promisify(brotliCompress)(body, { params }))
}

function codingOf({ type, body }: PageFile, accepted: string): Coding {
  if (body.length < LEAST_BYTES || !COMPRESSIBLE.test(type)) return 'identity'
  return accepts(accepted, 'br') ? 'br' : accepts(accepted, 'gzip') ? 'gzip' : 'identity'
}

/** Whether Accept-Encoding names the coding, and not with a weight of 0. */
export function accepts(header: string, coding: string): boolean {
  return header.split(',').some((part) => {
    const [name, ...parameters] = part.split(';').map((word) => word.trim().toLowerCase())
    return name === coding && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter))
  })
}

function hasTag(header: string, tag: string): boolean {
  return header === '*' || header.split(',').some((one) => one.trim().replace(/^W\//, '') === tag)
}
