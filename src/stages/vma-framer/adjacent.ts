/** Joins buffers that follow each other in memory. */

/** The same bytes in fewer buffers: headers that were made one after the other have memory together. */
export function adjacent(headers: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = []
  for (let first = 0, next = 1; next <= headers.length; next++) {
    const [before, header] = [headers[next - 1], headers[next]]
    if (header?.buffer === before.buffer && header.byteOffset === before.byteOffset + before.length) continue
    const { buffer, byteOffset } = headers[first]
    joined.push(Buffer.from(buffer, byteOffset, before.byteOffset + before.length - byteOffset))
    first = next
  }
  return joined
}
