/** The headers of every answer, by which a browser limits what a page, a download or another site can do. */

/** Of the page: only its own scripts, styles and connections, nothing inline, and nobody frames it. */
export const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  // No text ever becomes markup: neither preact nor uPlot needs it.
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

/** Of all that is no page. What a guest had on its drive must never run as if it were ours. */
export const DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"

const HEADERS: Record<string, string> = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'origin-agent-cluster': '?1',
  'permissions-policy':
    'accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()',
  'x-dns-prefetch-control': 'off',
  'x-permitted-cross-domain-policies': 'none',
}

/** Adds what is missing. `isSecure`: browsers reach us by TLS. */
export function addHeaders(headers: Headers, isSecure: boolean): void {
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value)
  if (!headers.has('content-security-policy')) headers.set('content-security-policy', DATA_POLICY)
  if (!headers.has('cache-control')) headers.set('cache-control', 'no-store')
  if (isSecure) headers.set('strict-transport-security', 'max-age=31536000')
}

/**
 * Makes Content-Disposition of any name (RFC 6266): an approximation in ASCII for old programs, and the name itself in UTF-8, percent-encoded
 * (RFC 5987). A name that could be a path, or that nobody could see, is changed first.
 */
export function attachment(name: string): string {
  const safe =
    name
      .toWellFormed()
      .replace(/[\p{Cc}\p{Cf}\u2028\u2029/\\]/gu, '_')
      .replace(/^\.+/, '_')
      .slice(0, 200)
      .toWellFormed()
      .trim() || 'download'
  const ascii = safe.replace(/[^\x20-\x7e]/g, '_').replace(/["%;]/g, '_')
  const encoded = encodeURIComponent(safe).replace(/['()*!]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`
}
