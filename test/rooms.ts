/** The rooms of the tests, and in which order they begin. */

/** Rooms, and files of quick rooms, that `npm run test:quick` leaves out, and why: it is for between two edits, and takes less than a minute. */
export const LONG: Record<string, string> = {
  faults: 'kills hundreds of processes, and fills disks',
  live: 'guests write and wait, and some boot',
  operations: 'whole archives are made, several with a QEMU',
  machine: 'guests are made of what was stored, and boot',
  fuzz: 'every property goes on for two seconds',
  catalog: 'whole archives are made first, and sixty nights go by',
  cli: 'each test starts the command line as a process',
  storage: 'mounts filesystems, and starts sshd and qemu-nbd',
  pipelines: 'runs every config as a process, some with a guest',
  access: 'whole archives are made first',
  chain: 'whole chains of archives are made first',
  web: 'a page is tried in a browser, and backups are shown on it',
  fleet: 'a planner and agents as processes, with real backups',
  jobs: 'guests are backed up as on a night, each by a process of its own',
  system: 'waits for processes to end',
  support: 'boots a guest',
  'stages/decompressor.test.ts': 'archives of many programs, cut and damaged in many places',
  'stages/tee.test.ts': 'branches hang until they are given up',
  'stages/exec.test.ts': 'runs programs of others, some of which hang',
  'package.test.ts': 'packs and installs the package',
  'docs.test.ts': 'makes the API pages',
  'docstrings.test.ts': 'compiles the examples of the API',
  'readme.test.ts': 'runs the examples',
}

/** What a contributor runs between edits: no guest, few processes. */
export const QUICK: readonly string[] = [
  'stages',
  'protocol',
  'codecs',
  'formats',
  'config',
  'core',
  'architecture.test.ts',
  'rooms.test.ts',
  'run.test.ts',
]

/** All rooms. */
export const EVERYTHING: readonly string[] = [...Object.keys(LONG).filter((name) => !name.includes('/')), ...QUICK]

/**
 * Files that take more than half a minute, which begin first: else the suite ends with one of them alone. test/run.ts names the longest of a run.
 * One that mostly waits is beside one that mostly computes.
 */
export const FIRST: readonly string[] = [
  'live/qemu/guarded-faults.test.ts',
  'faults/fleet/hosts.test.ts',
  'catalog/sixty-nights.test.ts',
  'operations/boot/boot.test.ts',
  'faults/fleet/schedule.test.ts',
  'web/real/whole-guest.test.ts',
  'live/libvirt/shut-off.test.ts',
  'operations/files.test.ts',
  'live/qemu/plain-faults.test.ts',
  'jobs/run/far-places.test.ts',
  'faults/kill.test.ts',
  'web/page/axe.test.ts',
  'operations/memory.test.ts',
  'web/host/data.test.ts',
  'storage/filesystems.test.ts',
  'live/guest.test.ts',
  'live/qemu/shared-monitor.test.ts',
  'cli/fleet/fleet.test.ts',
  'live/tracking/serve.test.ts',
  'operations/behind.test.ts',
  'web/page/actions.test.ts',
  'jobs/run/due.test.ts',
  'operations/round-trip.test.ts',
  'web/page/page.test.ts',
]
