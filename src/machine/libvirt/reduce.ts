/** Takes out of a domain's XML what is not on the list of what may stay (allowed.ts), and says what it was. */

import { type Allowed, DOMAIN, DUMPS } from './allowed.ts'
import type { Domain } from './domain.ts'
import { append, attribute, children, content, type Element, ensure, find, remove, setContent } from './xml.ts'

/** Left out without a word: libvirt makes them again, or they have no meaning in a definition. */
const SILENT = new Set([
  // Labels and names that libvirt gives.
  ...['domain@id', 'interface/target', 'graphics@port', 'graphics@tlsPort', 'graphics@listen', 'graphics@websocket'],
  ...['disk@snapshot', 'disk/backingStore', 'disk/source', 'serial/source', 'console/source', 'console@tty'],
  ...[
    'channel/source',
    'parallel/source',
    'devices/emulator',
    'domain/resource',
    'graphics/listen',
    'domain@xmlns:qemu',
  ],
])

/** Harmless kinds at the other end of a serial device. */
const SERIAL = ['serial', 'parallel', 'console', 'channel']

/**
 * Reduces the domain in place. `warn` is told each thing that is left out. What is on the list stays as it is: a reduced domain can be
 * given to libvirt once its disks and firmware name places of the user.
 */
export function reduceDomain(domain: Domain, warn: (message: string) => void): void {
  const { root } = domain
  prepare(domain, warn)
  reduce(root, DOMAIN, warn)
  for (const name of ['on_crash', 'on_poweroff', 'on_reboot']) {
    const action = find(root, name)
    if (!DUMPS.includes(content(action) ?? '')) continue
    setContent(action!, 'destroy')
    warn(`<${name}> writes no dump of the guest's memory: it is 'destroy' now`)
  }
}

/** Comments and the like go without a word: nothing reads them. */
function reduce(element: Element, allowed: Allowed, warn: (message: string) => void): void {
  for (let node = element.firstChild; node !== null; ) {
    const next = node.nextSibling
    if (node.nodeType !== 1 && node.nodeType !== 3) element.removeChild(node)
    node = next
  }
  if (allowed.whole) {
    for (const child of children(element)) reduce(child, allowed, warn)
    dropForeign(element, warn)
    return
  }
  for (const name of attributeNames(element)) {
    if (allowed.attributes?.includes(name)) continue
    const value = element.getAttribute(name)!
    element.removeAttribute(name)
    if (!SILENT.has(`${element.nodeName}@${name}`)) warn(`${where(element)}: ${name}='${clip(value)}' is left out`)
  }
  for (const child of children(element)) {
    const known = allowed.children?.[child.nodeName]
    const reason = known === undefined ? '' : unwanted(child, known)
    if (known !== undefined && reason === null) {
      reduce(child, known, warn)
      continue
    }
    remove(child)
    if (!SILENT.has(`${element.nodeName}/${child.nodeName}`)) warn(`${what(child)} is left out${reason}`)
  }
}

/** Why the element has to go although its name is on the list; null if it may stay. */
function unwanted(element: Element, { values = {}, children: inside }: Allowed): string | null {
  for (const [name, allowed] of Object.entries(values)) {
    const value = attribute(element, name)
    if (value !== undefined && !allowed.includes(value)) return `: ${name}='${clip(value)}' is something of the host`
  }
  // A TPM without a backend would be one that libvirt refuses.
  const backend = inside?.backend?.values && find(element, 'backend')
  return backend ? unwanted(backend, inside!.backend!) : null
}

/** In subtrees that stay whole, names of other namespaces do not: they are for hypervisors' command lines. */
function dropForeign(element: Element, warn: (message: string) => void): void {
  for (const name of attributeNames(element)) {
    if (!name.includes(':') && name !== 'xmlns') continue
    element.removeAttribute(name)
    warn(`${where(element)}: ${name} is left out`)
  }
  for (const child of children(element)) {
    if (!child.nodeName.includes(':')) continue
    remove(child)
    warn(`${what(child)} is left out`)
  }
}

/** Replaces sources that name things of the host by harmless ones, so that the device itself stays. */
function prepare({ devices }: Domain, warn: (message: string) => void): void {
  if (devices === undefined) return
  for (const element of children(devices)) {
    const { nodeName } = element
    if (SERIAL.includes(nodeName)) keepSerial(element, warn)
    else if (nodeName === 'rng') keepRng(element, warn)
    else if (nodeName === 'interface') keepInterface(element, warn)
    else if (nodeName === 'graphics') keepGraphics(element, warn)
    else if (nodeName === 'vsock') fresh(element, 'cid', { auto: 'yes' })
  }
}

/** A console that went to a file or the network of the host becomes a terminal of libvirt's own. */
function keepSerial(element: Element, warn: (message: string) => void): void {
  const type = attribute(element, 'type') ?? 'pty'
  const isChannel = element.nodeName === 'channel'
  const kept = isChannel ? ['pty', 'null', 'unix', 'spicevmc', 'qemu-vdagent'] : ['pty', 'null']
  if (!kept.includes(type)) {
    const now = isChannel ? 'null' : 'pty'
    warn(`${what(element)} leads to nothing of the host any more: its type is '${now}' now`)
    element.setAttribute('type', now)
  }
  const log = find(element, 'log')
  if (log === undefined) return
  remove(log)
  warn(`${what(element)}: its log file '${clip(attribute(log, 'file') ?? '')}' is left out`)
}

function keepRng(element: Element, warn: (message: string) => void): void {
  const backend = find(element, 'backend')
  const source = content(backend) ?? ''
  const isUsual = attribute(backend, 'model') === 'builtin' || ['', '/dev/urandom', '/dev/random'].includes(source)
  if (isUsual) return
  warn(`the source of the random number generator, '${clip(source)}', is '/dev/urandom' now`)
  setContent(fresh(element, 'backend', { model: 'random' }), '/dev/urandom')
}

function keepInterface(element: Element, warn: (message: string) => void): void {
  const type = attribute(element, 'type') ?? ''
  if (['network', 'bridge', 'user'].includes(type)) return
  const source = find(element, 'source')
  const named = attribute(source, 'dev') ?? attribute(source, 'path') ?? ''
  warn(
    `${what(element)} is not connected any more: type='${clip(type)}' ${named && `with '${clip(named)}' `}is something of the host`,
  )
  element.setAttribute('type', 'user')
  if (source !== undefined) remove(source)
  ensure(element, 'link').setAttribute('state', 'down')
}

function keepGraphics(element: Element, warn: (message: string) => void): void {
  const named = [
    attribute(element, 'listen'),
    ...children(element, 'listen').map((one) => attribute(one, 'address') ?? attribute(one, 'socket')),
  ]
  const open = named.find((address) => address !== undefined && !/^(127\.|::1$|localhost$)/.test(address))
  if (open !== undefined) warn(`${what(element)} listens where libvirt chooses, and not at '${clip(open)}'`)
  for (const name of ['port', 'tlsPort', 'websocket']) element.removeAttribute(name)
  if (['vnc', 'spice'].includes(attribute(element, 'type') ?? '')) element.setAttribute('autoport', 'yes')
}

/** The child of this name, made anew. */
function fresh(element: Element, name: string, attributes: Record<string, string>): Element {
  for (const before of children(element, name)) remove(before)
  return append(element, name, attributes)
}

function attributeNames(element: Element): string[] {
  return Array.from({ length: element.attributes.length }, (_, index) => element.attributes.item(index)!.name)
}

/** Such as "<hostdev mode='subsystem' type='pci'>". */
function what(element: Element): string {
  const shown = attributeNames(element)
    .slice(0, 3)
    .map((name) => ` ${clip(name)}='${clip(element.getAttribute(name)!)}'`)
  return `<${clip(element.nodeName)}${shown.join('')}>`
}

function where(element: Element): string {
  return `<${clip(element.nodeName)}>`
}

function clip(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`
}
