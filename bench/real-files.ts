/**
 * A real image: an ext4 filesystem with the programs, libraries and texts of this machine's own /usr. Made-up images compress
 * otherwise. It and its archives are made once for all topics of a run.
 */

import { execFileSync } from 'node:child_process'
import { copyFileSync, lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync, statfsSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { mebibytes } from './comparison.ts'
import { measure } from './measure.ts'
import { type Settings, vmapipe } from './topic.ts'

const MiB = 2 ** 20
/** Of the files, with a fifth more for the image. */
const FULL = 3174 * MiB
const QUICK = 160 * MiB
/** The image, its archives, what a peer makes of it, and its files while it is made. */
const COPIES = 6

const made = new Map<string, string>()

/** The path of the image. */
export function realImage({ shared, quick }: Settings): string {
  return once(join(shared, 'real.raw'), (image) => {
    const { bavail, bsize } = statfsSync(shared)
    const wanted = Math.min(quick ? QUICK : FULL, Math.floor((bavail * bsize) / COPIES))
    const files = join(shared, 'usr')
    mkdirSync(files)
    const bytes = copyTree('/usr', files, wanted)
    const size = Math.ceil((bytes * 1.25) / (64 * MiB)) * 64
    process.stderr.write(`  an image of ${size} MiB, with ${(bytes / MiB).toFixed(0)} MiB of /usr\n`)
    execFileSync('mkfs.ext4', ['-q', '-F', '-d', files, image, `${size}M`], { stdio: ['ignore', 'ignore', 'inherit'] })
    rmSync(files, { recursive: true })
  })
}

/** The path of the image's archive with this suffix, such as `vma.zst`, by our backup. */
export async function realArchive(settings: Settings, suffix: string): Promise<string> {
  const image = realImage(settings)
  const archive = join(settings.shared, `real.${suffix}`)
  if (made.has(archive)) return archive
  const argv = vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', archive)
  await measure({ name: 'the archive', argv }, settings.folder)
  made.set(archive, archive)
  return archive
}

/** Makes room: they are made again for the next topic that needs them. */
export function forgetRealFiles(): void {
  for (const path of made.keys()) rmSync(path, { force: true })
  made.clear()
}

export function aboutReal(settings: Settings): string {
  const image = realImage(settings)
  const stored = lstatSync(image).blocks * 512
  return (
    `The image has ${mebibytes(image)}, of it ${(stored / MiB).toFixed(0)} MiB not holes: an ext4 filesystem with files of this machine's ` +
    '/usr. Images, archives and copies are in memory (tmpfs): no disk hides what the programs cost.'
  )
}

function once(path: string, make: (path: string) => void): string {
  if (!made.has(path)) make(path)
  made.set(path, path)
  return path
}

/** Copies files and links in the order of their names, up to `most` bytes. Returns how many there are. */
function copyTree(from: string, to: string, most: number): number {
  let bytes = 0
  const walk = (folder: string): void => {
    for (const name of readdirSync(join(from, folder)).sort()) {
      if (bytes >= most) return
      const path = join(folder, name)
      const [source, target] = [join(from, path), join(to, path)]
      const stats = lstatSync(source)
      if (stats.isDirectory()) walk(path)
      else if (stats.isFile() && bytes + stats.size <= most) {
        mkdirSync(dirname(target), { recursive: true })
        copyFileSync(source, target)
        bytes += Math.ceil(stats.size / 4096) * 4096
      } else if (stats.isSymbolicLink()) {
        mkdirSync(dirname(target), { recursive: true })
        symlinkSync(readlinkSync(source), target)
      }
    }
  }
  walk('')
  return bytes
}
