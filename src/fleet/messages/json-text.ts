/**
 * Reads JSON that came over the network. What is nested deeply would exhaust the stack of code that walks over it later, and a few bytes
 * for each of many millions of values would become gigabytes of memory, so both are counted before anything is made.
 */

import { VmapipeError } from '../../core/errors.ts'

/** How deep lists and maps may be in each other. Messages have six levels; reports of guests a few more. */
const MOST_DEEP = 64

/** Values in one message. An inventory of 20,000 guests has a fifth of it. */
const MOST_VALUES = 2_000_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN = [0x5b, 0x7b]
const CLOSE = [0x5d, 0x7d]

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Throws USAGE, with one line, if the bytes are no JSON, or no JSON that somebody means well with. */
export function parseJsonText(bytes: Uint8Array): unknown {
  checkShape(bytes)
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new VmapipeError('USAGE', 'this is no UTF-8')
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new VmapipeError('USAGE', `this is no JSON: ${(cause as Error).message}`, { cause })
  }
  if (/__proto__|\\u/.test(text)) removeProto(value)
  return value
}

/** Counts what the text would become. It need not be right JSON: then it is refused by what parses it. */
function checkShape(bytes: Uint8Array): void {
  let depth = 0
  let values = 1
  let isString = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (isString) {
      if (byte === BACKSLASH) at++
      else if (byte === QUOTE) isString = false
    } else if (byte === QUOTE) isString = true
    else if (byte === COMMA) values++
    else if (OPEN.includes(byte)) {
      values++
      if (++depth > MOST_DEEP) throw new VmapipeError('USAGE', `this JSON is nested deeper than ${MOST_DEEP} levels`)
    } else if (CLOSE.includes(byte)) depth--
  }
  if (values > MOST_VALUES) throw new VmapipeError('USAGE', `this JSON has more than ${MOST_VALUES} values`)
}

/** JSON may have a key `__proto__`. Code that copies keys one by one would change the prototype of its copy. */
function removeProto(root: unknown): void {
  const left = [root]
  for (let value = left.pop(); value !== undefined; value = left.pop()) {
    if (value === null || typeof value !== 'object') continue
    if (Object.hasOwn(value, '__proto__')) Reflect.deleteProperty(value, '__proto__')
    // One by one: a list may be too long to be the arguments of a call.
    for (const inner of Object.values(value)) left.push(inner)
  }
}
