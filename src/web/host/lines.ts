/** Lines of a program's output. A line without an end is cut, so that no program can fill our memory. */

import type { Readable } from 'node:stream'

const LONGEST = 64 << 10

export function onLines(stream: Readable, take: (line: string) => void): void {
  let rest = ''
  let isCut = false
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      if (!isCut) take(line)
      isCut = false
    }
    if (rest.length <= LONGEST) return
    if (!isCut) take(rest.slice(0, LONGEST))
    isCut = true
    rest = ''
  })
  stream.on('end', () => {
    if (rest !== '' && !isCut) take(rest)
  })
  stream.on('error', () => {})
}
