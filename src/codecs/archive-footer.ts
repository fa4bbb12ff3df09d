/** Checks whether a footer ends here. Behind a footer the archive is over, and all bytes before it must match its checksum. */

import { START } from './archive-end.ts'
import type { DecoderContext } from './decoder-context.ts'

export async function passFooter({ input, check, end, order, recovery }: DecoderContext): Promise<void> {
  const atEnd = (await input.peek(1)).length === 0
  if (!atEnd && !check.mayEnd) return
  await order.drain()
  // Only now is it known that the archive ended further up: then this is the footer of another one.
  if (end.isOver) return
  // Files that are no archives may be joined, so a footer ends only an archive.
  if (!atEnd && !end.isArchive) return
  let ended = false
  try {
    ended = check.footer()
  } catch (error) {
    order.afterwards(() => recovery.reportUnknown(error))
  }
  if (ended) end.foot({ offset: input.position, bytes: await input.peek(START) })
}
