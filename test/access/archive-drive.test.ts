import { join } from 'node:path'
import { backup } from '../../src/operations/backup.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import type { DriveReader } from '../../src/storage/drive.ts'
import { readerContract, writeSparse } from '../storage/contract.ts'
import { tmpDir } from '../support/tmp.ts'

type Hooks = Parameters<typeof tmpDir>[0]

/** A drive of an archive that goes away, with it, after the test. */
async function driveOf(t: Hooks, image: Buffer, made: object): Promise<DriveReader> {
  const dir = tmpDir(t)
  const raw = join(dir, 'disk.raw')
  writeSparse(raw, image)
  const to = join(dir, 'a.vma')
  await backup({ drives: { d: raw }, to, ...made })
  const archive = await openArchive(to)
  t.after(() => archive.close())
  return archive.drive('d')
}

const KINDS: Record<string, object> = {
  'an archive of zstd frames': { compress: 'zstd' },
  'an archive of LZ4 frames': { compress: 'lz4' },
  'an archive of gzip members': { compress: 'gzip' },
  'an archive with checksums': {},
  'an archive without index': { index: false },
  'an archive as others make them': { checksums: false, index: false },
}

for (const [name, made] of Object.entries(KINDS))
  readerContract(`a drive of ${name}`, { open: (t, image) => driveOf(t, image, made), sparse: true })
