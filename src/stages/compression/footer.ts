/** What ends here may be the footer of an archive of ours: then nothing follows, and all before it must be what was written. */

import { START } from './archive-end.ts'
import type { DecoderContext } from './decoder.ts'

export async function passFooter({ input, check, end, order, recovery }: DecoderContext): Promise<void> {
  const atEnd = (await input.peek(1)).length === 0
  if (!atEnd && !check.mayEnd) return
  await order.drain()
  // Of what is no archive several may be joined.
  if (!atEnd && !end.isArchive) return
  let ended = false
  try {
    ended = check.footer()
  } catch (error) {
    order.afterwards(() => recovery.reportUnknown(error))
  }
  if (ended) end.foot({ offset: input.position, bytes: await input.peek(START) })
}
