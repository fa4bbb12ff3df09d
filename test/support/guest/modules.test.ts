import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { tmpDir } from '../tmp.ts'
import { needs } from '../tools.ts'
import { loadModules } from './modules.ts'

const moduleWith = (depends: string) => Buffer.from(`ELF\0license=GPL\0depends=${depends}\0name=x\0`)
const xz = (data: Buffer) => execFileSync('xz', ['-c'], { input: data })

test('modules come after what they need, whatever they are compressed with', needs('xz'), (t) => {
  const folder = tmpDir(t)
  const files: Record<string, Buffer | string> = {
    'modules.builtin': 'kernel/drivers/built-in.ko\n',
    'kernel/drivers/block/disk-blk.ko.xz': xz(moduleWith('ring,bus,built_in')),
    'kernel/drivers/virtio/bus.ko.zst': zstdCompressSync(moduleWith('ring')),
    'kernel/drivers/virtio/ring.ko': moduleWith(''),
    'kernel/drivers/lost.ko': moduleWith('nowhere'),
  }
  for (const [path, data] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), data)
  }
  const loaded = loadModules(folder, ['disk_blk', 'bus', 'built_in'])
  assert.deepEqual(loaded, [
    { name: 'ring', data: moduleWith('') },
    { name: 'bus', data: moduleWith('ring') },
    { name: 'disk_blk', data: moduleWith('ring,bus,built_in') },
  ])
  assert.throws(() => loadModules(folder, ['lost']), /has no module nowhere/)
})
