/**
 * Text as a column takes it. PostgreSQL has no character 0, and no half of a surrogate pair, by which bytes of names that are not UTF-8 are
 * written; a name of a guest may have both. They are escaped, reversibly. Columns of the type `json` need this not: JSON escapes them itself.
 */

export function toText(text: string): string {
  return text.replace(/[\\\0\p{Cs}]/gu, (c) =>
    c === '\\' ? '\\\\' : `\\${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export function fromText(text: string): string {
  return text.replace(/\\(\\|[0-9a-f]{4})/g, (_, code: string) =>
    code === '\\' ? code : String.fromCharCode(Number.parseInt(code, 16)),
  )
}

export function toTextOrNull(text: string | null | undefined): string | null {
  return text === null || text === undefined ? null : toText(text)
}

export function fromTextOrNull(text: string | null): string | null {
  return text === null ? null : fromText(text)
}
