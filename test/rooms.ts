/** The rooms of the tests, in the order in which they begin: those that take longest first, so that the suite does not end with one of them alone. */

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
