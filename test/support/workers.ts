/** The processes of a run's backups, started as the package has them: in two thirds of the processor time that the sources need. */

import { dirname, join } from 'node:path'
import { type StartTask, startWorker, workersOf } from '../../src/jobs/run/worker.ts'

const launcher = process.env.VMAPIPE_TEST_LAUNCHER

/** Starts the program that test/run.ts has made; without it the sources. */
export const startTestWorker: StartTask =
  launcher === undefined ? startWorker : workersOf(join(dirname(launcher), '../../dist/jobs/run/backup-worker.js'))
