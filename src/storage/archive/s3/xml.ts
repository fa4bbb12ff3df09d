/**
 * Reads the answers of S3 stores: small XML documents of elements and text. Anything else in them, such as a DOCTYPE or a deep
 * nesting, is refused: a store may be hostile. The size was limited before, by who received the bytes.
 */

export interface XmlElement {
  name: string
  text: string
  children: XmlElement[]
}

const DEEPEST = 16

const TOKEN =
  /<\?xml[^<>]*\?>|<!--[\s\S]*?-->|<(\/?)([A-Za-z][\w.:-]*)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y

/** The root element, or null if this is no such document. */
export function parseXml(document: string): XmlElement | null {
  const root: XmlElement = { name: '', text: '', children: [] }
  const open = [root]
  const token = new RegExp(TOKEN)
  while (token.lastIndex < document.length) {
    const match = token.exec(document)
    if (match === null) return null
    const [, isEnd, name, , isEmpty, text] = match
    const inner = open.at(-1)!
    if (text !== undefined) inner.text += unescaped(text)
    if (name === undefined) continue
    if (isEnd) {
      if (open.length === 1 || inner.name !== name) return null
      open.pop()
      continue
    }
    const element: XmlElement = { name, text: '', children: [] }
    inner.children.push(element)
    if (!isEmpty) open.push(element)
    if (open.length > DEEPEST) return null
  }
  return open.length === 1 && root.children.length === 1 ? root.children[0] : null
}

/** The first child of this name. */
export function childOf({ children }: XmlElement, name: string): XmlElement | undefined {
  return children.find((child) => child.name === name)
}

/** The text of the child of this name; empty if there is none. */
export function textOf(element: XmlElement, name: string): string {
  return childOf(element, name)?.text ?? ''
}

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function unescaped(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|([a-z]{2,4}));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

/** The text as it is written in XML. */
export function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (c) => `&#${c.codePointAt(0)};`)
}
