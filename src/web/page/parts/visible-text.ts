/**
 * Every text of the page is shown as it is, but for characters that nobody sees: those that turn the direction of what follows, controls,
 * and some without width. A guest could look like another by them, so they are shown by their numbers. It holds for all elements, as preact
 * asks here for each.
 */

import { options, type VNode } from 'preact'

const UNSEEN = /[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`)
}

const inner = options.vnode
options.vnode = (vnode: VNode) => {
  const { type, props } = vnode
  if (typeof type === 'string') {
    const { children } = props
    if (typeof children === 'string') props.children = visible(children)
    else if (Array.isArray(children))
      props.children = children.map((child) => (typeof child === 'string' ? visible(child) : child))
  }
  inner?.(vnode)
}
