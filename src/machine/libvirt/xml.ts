/**
 * XML of libvirt, read with limits. It may come from somebody else's archive: there are no document types, so no entities to expand,
 * and size, depth and number of elements are bounded before anything walks the tree.
 */

import { DOMParser, type Document, type Element, type Node, XMLSerializer } from '@xmldom/xmldom'
import { VmapipeError } from '../../core/errors.ts'

export type { Document, Element } from '@xmldom/xmldom'

/** Bytes. The XML of a domain with a hundred devices has 60 KB. */
const MAX_BYTES = 1 << 20
/** Elements within elements. That of a domain has about ten, and one more for each backing file. */
const MAX_DEPTH = 100
const MAX_ELEMENTS = 20_000

const ELEMENT = 1

/** Parses XML whose root element is `root`. `what` names it in errors. Throws DAMAGED. */
export function parseXml(text: string, root: string, what: string): Document {
  if (text.length > MAX_BYTES) throw refused(what, `has more than ${MAX_BYTES} bytes`)
  if (/<!(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)/i.test(text)) throw refused(what, 'has a document type')
  let document: Document
  try {
    document = new DOMParser({
      locator: false,
      onError: (level, message) => {
        if (level !== 'warning') throw new Error(message)
      },
    }).parseFromString(text, 'text/xml')
  } catch (cause) {
    throw refused(what, `is no XML: ${(cause as Error).message.split('\n')[0].slice(0, 120)}`, cause)
  }
  const element = document.documentElement
  if (element === null || element.nodeName !== root)
    throw refused(what, `does not describe a ${root}: its root is <${element?.nodeName.slice(0, 40)}>`)
  checkShape(element, what)
  return document
}

/** Walks without recursion, as what comes later is recursive. */
function checkShape(root: Element, what: string): void {
  let count = 0
  let level: Element[] = [root]
  for (let depth = 1; level.length > 0; depth++) {
    count += level.length
    if (depth > MAX_DEPTH) throw refused(what, `has elements more than ${MAX_DEPTH} deep`)
    if (count > MAX_ELEMENTS) throw refused(what, `has more than ${MAX_ELEMENTS} elements`)
    level = level.flatMap((element) => children(element))
  }
}

export function xmlText(node: Node): string {
  return `${new XMLSerializer().serializeToString(node)}\n`
}

/** The elements directly in this one; those of a name if it is given. */
export function children(element: Element, name?: string): Element[] {
  const found: Element[] = []
  for (let node = element.firstChild; node !== null; node = node.nextSibling) {
    if (node.nodeType === ELEMENT && (name === undefined || node.nodeName === name)) found.push(node as Element)
  }
  return found
}

/** The first element along this path of names, or undefined. */
export function find(element: Element, ...path: string[]): Element | undefined {
  let at: Element | undefined = element
  for (const name of path) at = at && children(at, name)[0]
  return at
}

/** The attribute; undefined if it is not there, or empty. */
export function attribute(element: Element | undefined, name: string): string | undefined {
  return element?.getAttribute(name) || undefined
}

/** The text in the element; undefined if the element is not there, or empty. */
export function content(element: Element | undefined): string | undefined {
  return element?.textContent?.trim() || undefined
}

/** The child of this name, made at the end if it is not there. */
export function ensure(parent: Element, name: string): Element {
  return find(parent, name) ?? append(parent, name)
}

export function append(parent: Element, name: string, attributes: Record<string, string> = {}): Element {
  const element = parent.ownerDocument!.createElement(name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  parent.appendChild(element)
  return element
}

export function remove(element: Element): void {
  element.parentNode?.removeChild(element)
}

export function setContent(element: Element, text: string): void {
  while (element.firstChild !== null) element.removeChild(element.firstChild)
  element.appendChild(element.ownerDocument!.createTextNode(text))
}

function refused(what: string, reason: string, cause?: unknown): VmapipeError {
  return new VmapipeError('DAMAGED', `${what} ${reason}`, { cause })
}
