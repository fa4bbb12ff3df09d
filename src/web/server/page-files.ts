/**
 * The files of the page, as the server gives them: made once, by `buildPage()` of src/web/page. A path that holds a hash of the content
 * never changes its content, so browsers keep it for a year.
 */

/** A file of the page. */
export interface PageFile {
  /** Its media type, such as `text/html; charset=utf-8`. */
  type: string
  body: Buffer
  /** Whether its path holds a hash of its content. */
  immutable?: boolean
}

/** By path, such as `/index.html` and `/assets/page-3f9a2c1b.js`. `/index.html` is also given for `/`, and for each view of the page. */
export type Page = ReadonlyMap<string, PageFile>

/** Says that the page is not built, for those who only want the API. */
export function placeholderPage(): Page {
  const body = Buffer.from(
    '<!doctype html><html lang="en"><title>vmapipe</title><p>The page is not built.</p></html>\n',
  )
  return new Map([['/index.html', { type: 'text/html; charset=utf-8', body }]])
}
