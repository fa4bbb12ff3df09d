/** Partition tables as real tools make them, and as nobody should. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../src/core/errors.ts'
import { type PartitionTable, partitionsOf } from '../../src/operations/partitions.ts'
import type { DriveReader } from '../../src/storage/drive.ts'
import { openRawReader } from '../../src/storage/raw-drive.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs, which } from '../support/tools.ts'

const limits = { timeout: 120_000 }
const MiB = 2 ** 20

/** A disk that sfdisk partitions by this script. */
function sfdisk(t: TestContext, script: string): string {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, '')
  truncateSync(path, 100 * MiB)
  execFileSync(which('sfdisk')!, ['--quiet', path], { input: script })
  return path
}

async function tableOf(path: string): Promise<PartitionTable> {
  const drive = await openRawReader(path)
  return partitionsOf(drive).finally(() => drive.close())
}

const SMALL = {
  gpt: 'label: gpt\nstart=2048, size=2048\nstart=8192, size=2048\n',
  dos: 'label: dos\nstart=2048, size=2048\nstart=8192, size=4096, type=5\nstart=8200, size=100\n',
}

/** What sfdisk itself finds, in bytes. */
function expected(path: string) {
  const { partitiontable } = JSON.parse(execFileSync(which('sfdisk')!, ['--json', path], { encoding: 'utf8' }))
  return partitiontable.partitions.map(({ node, start, size, type, name, uuid, bootable }: Record<string, any>) => ({
    ...{ number: Number(/(\d+)$/.exec(node)![1]), offset: start * 512, length: size * 512 },
    ...(partitiontable.label === 'gpt'
      ? { type: type.toLowerCase(), name: name ?? '', guid: uuid.toLowerCase() }
      : { type: type.padStart(2, '0'), bootable: Boolean(bootable) }),
  }))
}

function plain({ partitions }: PartitionTable) {
  return partitions.map(({ typeName: _, extended: __, ...partition }) => partition)
}

/** A drive of these bytes. */
function driveOf(bytes: Buffer): DriveReader {
  return {
    size: bytes.length,
    map: async function* () {},
    read: async (buffer, offset) => void bytes.copy(buffer, 0, offset, offset + buffer.byteLength),
    close: async () => {},
  }
}

describe('an MBR', needs('sfdisk'), () => {
  const script = `label: dos
start=2048, size=20480, type=83, bootable
start=22528, size=4096, type=82
start=28672, size=100000, type=5
start=30720, size=8192, type=83
start=40960, size=8192, type=7
start=51200, size=40960, type=8e
`

  test('is read as sfdisk reads it, logical partitions too', limits, async (t) => {
    const path = sfdisk(t, script)
    const table = await tableOf(path)
    assert.deepEqual(plain(table), expected(path))
    assert.deepEqual([table.scheme, table.problems, table.partitions.length], ['mbr', [], 6])
    assert.deepEqual(
      table.partitions.map(({ typeName, extended = false }) => [typeName, extended]),
      [
        ['Linux', false],
        ['Linux swap', false],
        ['extended', true],
        ['Linux', false],
        ['NTFS or exFAT', false],
        ['Linux LVM', false],
      ],
    )
  })

  test('with a chain of logical partitions that turns back ends, with a problem told', limits, async (t) => {
    const path = sfdisk(t, script)
    const bytes = readFileSync(path)
    const record = 28672 * 512
    // The second record's next one is the first.
    const second = record + bytes.readUInt32LE(record + 446 + 16 + 8) * 512
    assert.equal(bytes.readUInt16LE(second + 510), 0xaa55)
    bytes.writeUInt32LE(0, second + 446 + 16 + 8)
    const table = await partitionsOf(driveOf(bytes))
    assert.deepEqual(
      table.partitions.map(({ number }) => number),
      [1, 2, 3, 5, 6],
    )
    assert.match(table.problems.join(), /from number 7 on cannot be found/)
    bytes.writeUInt16LE(0, second + 510)
    assert.match((await partitionsOf(driveOf(bytes))).problems.join(), /logical partition 6 in sector \d+ is damaged/)
  })

  test('that names more than there is of the drive tells the rest', limits, async (t) => {
    const bytes = readFileSync(sfdisk(t, 'label: dos\nstart=2048, size=2048\nstart=8192, size=20000\n'))
    const table = await partitionsOf(driveOf(bytes.subarray(0, 5 * MiB)))
    assert.deepEqual(
      table.partitions.map(({ number }) => number),
      [1],
    )
    assert.match(table.problems.join(), /partition 2 is not within the drive/)
  })
})

describe('a GPT', needs('sfdisk', 'sgdisk'), () => {
  const script = `label: gpt
start=2048, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI – ü"
start=10240, size=81920, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="root"
start=92160, size=4096, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
`

  test('is read as sfdisk reads it', limits, async (t) => {
    const path = sfdisk(t, script)
    const table = await tableOf(path)
    assert.deepEqual(plain(table), expected(path))
    assert.deepEqual([table.scheme, table.sectorSize, table.problems], ['gpt', 512, []])
  })

  test('of a disk with sectors of 4096 bytes counts in these', limits, async (t) => {
    const small = readFileSync(sfdisk(t, script))
    const bytes = Buffer.alloc(400 * MiB)
    small.copy(bytes, 0, 0, 512)
    small.copy(bytes, 4096, 512, 1024)
    small.copy(bytes, 8192, 1024, 1024 + 128 * 128)
    const { sectorSize, partitions } = await partitionsOf(driveOf(bytes))
    assert.equal(sectorSize, 4096)
    assert.deepEqual(
      partitions.map(({ offset, length, name }) => [offset, length, name]),
      [
        [8 * MiB, 32 * MiB, 'EFI – ü'],
        [40 * MiB, 320 * MiB, 'root'],
        [360 * MiB, 16 * MiB, ''],
      ],
    )
  })

  test('as sgdisk makes it has its types and names', limits, async (t) => {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, '')
    truncateSync(path, 64 * MiB)
    const made = ['-n', '1:2048:+1M', '-t', '1:ef02', '-n', '5:0:+8M', '-t', '5:8300', '-c', '5:data']
    execFileSync(which('sgdisk')!, [...made, path], { stdio: 'pipe' })
    const { partitions } = await tableOf(path)
    assert.deepEqual(
      partitions.map(({ number, offset, length, typeName, name }) => [number, offset, length, typeName, name]),
      [
        [1, MiB, MiB, 'BIOS boot', ''],
        [5, 2 * MiB, 8 * MiB, 'Linux', 'data'],
      ],
    )
  })

  test('whose first header or entries are damaged is read from its backup, with a warning', limits, async (t) => {
    const path = sfdisk(t, script)
    const whole = await tableOf(path)
    for (const [at, problem] of [
      [512, /header in sector 1 is missing/],
      [512 + 60, /header in sector 1 has a wrong checksum/],
      [1024 + 60, /entries of the header in sector 1 have a wrong checksum/],
    ] as const) {
      const bytes = readFileSync(path)
      bytes[at] ^= 1
      const table = await partitionsOf(driveOf(bytes))
      assert.deepEqual(table.partitions, whole.partitions)
      assert.match(table.problems.join(), problem)
      bytes[bytes.length - 500] ^= 1
      await assert.rejects(partitionsOf(driveOf(bytes)), {
        code: 'DAMAGED',
        message: /there is a GPT, but it cannot be read/,
      })
    }
  })

  test('without the MBR before it is found all the same', limits, async (t) => {
    const bytes = readFileSync(sfdisk(t, script))
    bytes.fill(0, 0, 512)
    assert.equal((await partitionsOf(driveOf(bytes))).partitions.length, 3)
  })

  test('and an MBR that somebody changed at random never make it fail in another way', limits, async (t) => {
    for (const label of ['gpt', 'dos'] as const) {
      const bytes = readFileSync(sfdisk(t, SMALL[label]))
      const sectors = fc.constantFrom(0, 1, 2, 8192, bytes.length / 512 - 1)
      const change = fc.record({ sector: sectors, at: fc.nat(511), value: fc.nat(255) })
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 40 }), async (changes) => {
          const undo = changes.map(({ sector, at, value }) => {
            const place = sector * 512 + at
            const before = bytes[place]
            bytes[place] = value
            return () => bytes.fill(before, place, place + 1)
          })
          try {
            const { partitions } = await partitionsOf(driveOf(bytes))
            for (const { offset, length } of partitions) assert.ok(offset >= 0 && offset + length <= bytes.length)
          } catch (error) {
            assert.ok(error instanceof VmapipeError && error.code === 'DAMAGED', String(error))
          } finally {
            for (const back of undo.reverse()) back()
          }
        }),
        { numRuns: 300, interruptAfterTimeLimit: 8000 },
      )
    }
  })
})

test('a drive without a table has none: empty, random, or a filesystem', limits, async () => {
  const fat = Buffer.alloc(MiB)
  fat.set([0xeb, 0x3c, 0x90], 0)
  fat.write('FAT16   ', 54)
  fat.fill(0x80, 446, 510)
  fat.writeUInt16LE(0xaa55, 510)
  const code = Buffer.alloc(MiB, 0x5a)
  code.writeUInt16LE(0xaa55, 510)
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(100), Buffer.alloc(MiB), Buffer.alloc(MiB, 0xff), fat, code]) {
    assert.equal((await partitionsOf(driveOf(bytes))).scheme, null)
  }
})
