import { open } from 'node:fs/promises'

const PIECE = 4 << 20

/** The first byte at which two files differ, or -1 where they are the same; the end of the shorter one is a difference. */
export async function firstDifference(pathA: string, pathB: string, signal: AbortSignal): Promise<number> {
  const files = [await open(pathA), await open(pathB)]
  try {
    const buffers = [Buffer.allocUnsafe(PIECE), Buffer.allocUnsafe(PIECE)]
    for (let offset = 0; ; offset += PIECE) {
      signal.throwIfAborted()
      const [a, b] = await Promise.all(
        files.map(async (file, index) => {
          const { bytesRead } = await file.read(buffers[index], 0, PIECE, offset)
          return buffers[index].subarray(0, bytesRead)
        }),
      )
      if (!a.equals(b)) return offset + differenceWithin(a, b)
      if (a.length < PIECE) return -1
    }
  } finally {
    for (const file of files) await file.close()
  }
}

function differenceWithin(a: Buffer, b: Buffer): number {
  const at = a.findIndex((byte, index) => byte !== b[index])
  return at < 0 ? Math.min(a.length, b.length) : at
}
